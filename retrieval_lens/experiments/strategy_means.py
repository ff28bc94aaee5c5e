"""One row a strategy and question of a grid of answers, to compare strategies with."""

from collections.abc import Sequence
from typing import Any

from retrieval_lens.errors import InputError, UnknownNameError

MEASURES = ("em", "f1", "first_recall", "first_share", "evidence_recall", "revealed_share")


def strategy_means(frame: Any, measures: Sequence[str] = MEASURES) -> Any:
    """Average the draws and layouts of each question, strategy by strategy.

    What comes out goes into `analysis.compare_conditions(means, measure, baseline="dynamic k=5",
    condition="strategy")`.

    Args:
        frame: What `load_results` returns for a `RagGrid` of one model; invalid questions are left
            out.
        measures: Columns of numbers to average. A question without a number (nothing was
            retrieved, say) has NaN.

    Returns:
        Columns `strategy` (with its k: "dynamic k=5"), `condition`, `k`, `question_id` and the
        measures.

    Raises:
        InputError: Several models, or no valid row.
        UnknownNameError: No such column.

    Examples:
        >>> import pandas as pd
        >>> rows = [("bm25", None, "a", 0.5), ("static", 5, "a", 0.0), ("static", 5, "a", 1.0)]
        >>> found = pd.DataFrame(rows, columns=["condition", "k", "question_id", "f1"])
        >>> found = strategy_means(found.assign(model="m", valid=True), ["f1"])
        >>> found["strategy"].tolist(), found["f1"].tolist()
        (['bm25', 'static k=5'], [0.5, 0.5])
    """
    missing = [one for one in ("condition", "k", "question_id", *measures) if one not in frame]
    if missing:
        known = ", ".join(map(str, frame.columns))
        raise UnknownNameError(f"no column {missing[0]!r} in the frame; it has: {known}")
    valid = frame[frame["valid"].astype(bool)] if "valid" in frame else frame
    if not len(valid):
        raise InputError("no question of this grid is valid, so there is nothing to average")
    if "model" in valid and valid["model"].nunique() > 1:
        raise InputError("answers of several models; compare the strategies of each model apart")
    by = ["condition", "k", "question_id"]
    means = valid.groupby(by, as_index=False, dropna=False, sort=False)[list(measures)].mean()
    names = [
        name if k != k else f"{name} k={int(k)}"
        for name, k in zip(means["condition"], means["k"].astype(float), strict=True)
    ]
    means.insert(0, "strategy", names)
    return means
