"""Means with intervals from a table of runs, for figures.

1. Questions are the unit where there are any, else examples: the rows of one (layouts, random
   draws) are averaged first.
2. The interval of a share (exact, truncated) is Wilson's where every example counts 0 or 1, and
   otherwise the percentile bootstrap over the units, resampled within each haystack (over all of
   them where a haystack has a single one, which would never vary).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from retrieval_lens.errors import InputError, UnknownNameError

N_RESAMPLES, LEVEL = 2000, 0.95
QUESTION, EXAMPLE, STRATUM, MODEL = "question_id", "example_id", "haystack", "model"
LEVELS = ("chance", "active_lift")  # of the score that chose the heads
SHARES = ("exact", "em", "truncated")  # measures that count 0 or 1


def require_columns(frame: Any, names: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        UnknownNameError: With the columns that there are.
    """
    for name in names:
        if name not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            raise UnknownNameError(f"the table has no column {name!r}; it has: {known}")


def series_names(frame: Any, column: str) -> list[str]:
    """The values of a column as texts; conditions of several models with the model before them."""
    names = frame[column].astype(str)
    if column == "condition" and MODEL in frame.columns and frame[MODEL].nunique() > 1:
        names = frame[MODEL].astype(str) + ": " + names
    return names.tolist()


def levels(frame: Any) -> str:
    """Chance level and lift of the grid's score, where the table has them; else "".

    Examples:
        >>> import pandas as pd
        >>> levels(pd.DataFrame({"chance": [0.08, 0.1], "active_lift": [5.0, 6.0]}))
        'chance level 0.09, lift of active heads 5.5'
    """
    if not set(LEVELS) <= set(frame.columns) or not frame["chance"].notna().any():
        return ""
    chance, lift = (frame[name].mean() for name in LEVELS)
    told = f"chance level {chance:.2g}"
    return told if lift != lift else f"{told}, lift of active heads {lift:.2g}"


def summarise(frame: Any, by: Sequence[str], measure: str) -> Any:
    """Mean and 95 % interval of `measure` over questions or examples, for each combination of `by`.

    Args:
        frame: A row a run. The rows of one unit are averaged first: of one `question_id`, whatever
            its layouts and draws, else of one `example_id`; without either column a row is a unit.
            With a column `haystack` the bootstrap keeps to haystacks.
        by: Columns.
        measure: Column of numbers; missing ones are left out.

    Returns:
        A table of `by`, `mean`, `low`, `high` (NaN for a single unit) and `n` units.

    Raises:
        UnknownNameError: The table lacks a column.
        InputError: No number in the column.

    Examples:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"k": [0, 0, 5, 5], "exact": [1.0, 1.0, 1.0, 0.0]})
        >>> summarise(runs, ["k"], "exact").round(2).values.tolist()
        [[0.0, 1.0, 0.34, 1.0, 2.0], [5.0, 0.5, 0.09, 0.91, 2.0]]
    """
    import pandas as pd

    require_columns(frame, [*by, measure])
    known = frame[frame[measure].notna()]
    if not len(known):
        raise InputError(f"no row has a number in column {measure!r}")
    rows = []
    for place, part in known.groupby(list(by), sort=False, dropna=False):
        values, strata = _examples(part, measure)
        is_share = measure in SHARES or part[measure].dtype == bool
        low, high = _interval(values, strata, is_share)
        rows.append((*place, values.mean(), low, high, len(values)))
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])


def _examples(part: Any, measure: str) -> tuple[Float[np.ndarray, " example"], np.ndarray]:
    """One number a unit, and the haystack of each."""
    numbers = part[measure].astype(float)
    unit = _unit(part)
    if unit:
        together = part.groupby(unit, dropna=False)
        strata = together[STRATUM].first() if STRATUM in part.columns else None
        values = numbers.groupby(unit, dropna=False).mean()
    else:
        values, strata = numbers, part[STRATUM] if STRATUM in part.columns else None
    found = np.zeros(len(values)) if strata is None else strata.to_numpy()
    return values.to_numpy(), found


def _unit(part: Any) -> list[Any]:
    """What tells units apart; nothing where every row is one."""
    model = [part[MODEL]] if MODEL in part.columns else []
    named = EXAMPLE in part.columns
    if QUESTION not in part.columns or part[QUESTION].isna().all():
        return [*model, part[EXAMPLE]] if named else []
    # a row without a question is its own example
    rows = part[EXAMPLE].tolist() if named else range(len(part))
    alone = part[QUESTION].isna()
    own = [row if is_alone else None for row, is_alone in zip(rows, alone, strict=True)]
    return [*model, part[QUESTION], np.array(own, dtype=object)]


def _interval(
    values: Float[np.ndarray, " example"], strata: np.ndarray, is_share: bool
) -> tuple[float, float]:
    if is_share and np.isin(values, (0.0, 1.0)).all():
        from scipy.stats import binomtest

        wilson = binomtest(int(values.sum()), len(values)).proportion_ci(LEVEL, "wilson")
        return float(wilson.low), float(wilson.high)
    if len(values) < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(0)
    sums = np.zeros(N_RESAMPLES)
    if np.unique(strata, return_counts=True)[1].min() < 2:
        strata = np.zeros(len(values))
    for stratum in np.unique(strata):
        group = values[strata == stratum]
        sums += group[random.integers(len(group), size=(N_RESAMPLES, len(group)))].sum(1)
    ends = np.quantile(sums / len(values), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(ends[0]), float(ends[1])
