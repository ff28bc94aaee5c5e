"""What the figures of dynamism read from a frame, and what they share in looks.

Any frame with these columns will do, so nothing of the analysis is imported.
"""

from collections.abc import Iterable
from typing import Any

from retrieval_lens.errors import InputError
from retrieval_lens.viz.style import PALETTE

BLUE, ORANGE, GREEN, PURPLE = PALETTE[:4]
GREY = "#7d8894"
BELOW: dict[str, Any] = {
    "orientation": "h",
    "y": -0.18,
    "yanchor": "top",
    "x": 0,
    "xanchor": "left",
}
COLUMNS = ("statistic", "k", "empty", "pooled", "null", "value", "low", "high")
Found = dict[tuple[str, int | None, str | None, str | None], dict[str, Any]]


def require(frame: Any, columns: Iterable[str]) -> None:
    """Refuse what is no frame with these columns, or has no row.

    Raises:
        InputError: With what is missing.
    """
    known = getattr(frame, "columns", None)
    if known is None:
        raise InputError(f"wanted a DataFrame, received {type(frame).__name__}")
    missing = [name for name in columns if name not in known]
    if missing or not len(frame):
        what = f"lacks the columns {missing}" if missing else "has no row"
        raise InputError(f"the frame {what}; wanted what the analysis function returns")


def pooled_rows(frame: Any) -> Found:
    """Rows pooled over steps, by statistic, k, reading and null."""
    require(frame, COLUMNS)
    found = {}
    for row in frame.to_dict("records"):
        k = int(row["k"]) if isinstance(row["k"], int | float) and row["k"] == row["k"] else None
        empty, null = (
            row[name] if isinstance(row[name], str) else None for name in ("empty", "null")
        )
        if row["pooled"] == "steps" and row["value"] == row["value"]:
            found[row["statistic"], k, empty, null] = row
    return found


def error_bars(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Interval ends as Plotly wants them: distances from the value; none where they are NaN."""
    up = [row["high"] - row["value"] for row in rows]
    down = [row["value"] - row["low"] for row in rows]
    return {"type": "data", "array": up, "arrayminus": down, "symmetric": False, "width": 4}
