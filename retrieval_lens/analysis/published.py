"""The numbers that the papers print, as tables, and yours beside them.

1. `published_table` reads a table of "Retrieval Heads are Dynamic" (https://arxiv.org/abs/2602.11162)
   or Wu et al.'s ablation (https://arxiv.org/abs/2404.15574).
2. `beside_paper` adds your own `dynamism`, in the reading of empty steps that the published
   numbers suggest (`count`), and computes the bounds that follow from the printed numbers.
"""

import json
from functools import cache
from importlib.resources import files
from math import exp, nan
from typing import Any

import pandas as pd

from retrieval_lens.errors import InputError, UnknownNameError

# column of Table 1 -> statistic and k of `dynamism`
TABLE1: dict[str, tuple[str, int | None]] = {
    "mean_active": ("mean_active", None),
    "std_active": ("std_active", None),
    "unique_heads": ("unique_heads", None),
    "total_heads": ("total_heads", None),
    "jaccard_static20": ("jaccard_static", 20),
    "adjacent_jaccard": ("adjacent_jaccard", None),
    "entropy": ("entropy", None),
}


@cache
def _tables() -> dict[str, Any]:
    text = (files("retrieval_lens.analysis") / "data" / "published_tables.json").read_text("utf-8")
    return json.loads(text)["tables"]


def published_table(name: str) -> pd.DataFrame:
    """A published table: `table1` to `table6`, `figure3`, `figure4`, `wu_figure1`.

    Raises:
        UnknownNameError: No table of that name.

    Examples:
        >>> table = published_table("table1")
        >>> dict(zip(table["model"], table["unique_heads"].tolist()))["llama3.1-8b"]
        238
    """
    if name not in _tables():
        raise UnknownNameError(f"no published table {name!r}; there are: {', '.join(_tables())}")
    return pd.DataFrame(_records(name))


def beside_paper(
    frame: pd.DataFrame, table: str = "table1", *, name: str = "yours"
) -> pd.DataFrame:
    """The published rows with yours under them; the column `source` tells which is which.

    Table 1 gets one more column, `effective_heads`: exp(entropy) over the mean number of active
    heads. Table 5 gets `mean_active`, `ceiling` (the largest Jaccard of a set of that mean size
    with one of size k) and `over_ceiling`. They are computed from the printed means, for you as
    for the paper, so `ceiling` and `over_ceiling` differ from the means over steps of `dynamism`.
    What your frame lacks is NaN.

    Args:
        frame: What `dynamism` returned.
        table: `table1` or `table5`.
        name: What to call your row.

    Raises:
        UnknownNameError: Another table.
        InputError: `frame` is not of `dynamism`, or holds no comparison with static heads and
            the table is `table5`.

    Examples:
        ```python
        frame = rl.analysis.dynamism([trace], n_resamples=100)
        rl.analysis.beside_paper(frame)
        ```
    """
    if table not in ("table1", "table5"):
        raise UnknownNameError(f"{table!r} is not about dynamism; wanted 'table1' or 'table5'")
    own = _reading(frame)
    paper = [{"source": "paper", **row} for row in _records(table)]
    if table == "table1":
        row = {column: own.get(key, nan) for column, key in TABLE1.items()}
        both = [*paper, {"source": "yours", "model": name, **row}]
        return pd.DataFrame(
            row | {"effective_heads": exp(row["entropy"]) / (row["mean_active"] or nan)}
            for row in both
        ).astype({"unique_heads": int, "total_heads": int})
    found = {k: value for (statistic, k), value in own.items() if statistic == "jaccard_static"}
    if not found:
        raise InputError("the frame holds no jaccard_static; pass static= to dynamism")
    printed = {row["model"]: row["mean_active"] for row in _records("table1")}
    rows = [row | _bound(row, printed[row["model"]]) for row in paper]
    for k, value in found.items():
        row = {"source": "yours", "model": name, "k": k, "jaccard_static": value}
        rows.append(row | _bound(row, own["mean_active", None]))
    return pd.DataFrame(rows)


def _records(table: str) -> list[dict[str, Any]]:
    content = _tables()[table]
    return [dict(zip(content["columns"], row, strict=True)) for row in content["rows"]]


def _bound(row: dict[str, Any], size: float) -> dict[str, float]:
    """The ceiling of a Jaccard at the mean number of active heads, and the share of it."""
    ceiling = min(size, row["k"]) / max(size, row["k"])
    over = row["jaccard_static"] / ceiling if ceiling else nan
    return {"mean_active": size, "ceiling": ceiling, "over_ceiling": over}


def _reading(frame: pd.DataFrame) -> dict[tuple[str, int | None], float]:
    """Values pooled by step with empty steps counted, by statistic and k."""
    missing = {"statistic", "k", "empty", "pooled", "null", "value"} - set(frame.columns)
    if missing:
        raise InputError(f"this frame lacks {sorted(missing)}; wanted what dynamism returns")
    own = {}
    for row in frame.to_dict("records"):
        if row["pooled"] == "steps" and row["empty"] != "skip" and pd.isna(row["null"]):
            own[row["statistic"], None if pd.isna(row["k"]) else int(row["k"])] = row["value"]
    if not {("mean_active", None), ("unique_heads", None)} <= own.keys():
        raise InputError("this frame holds no mean_active; wanted what dynamism returns")
    return own
