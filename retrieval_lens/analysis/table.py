"""The table of statistics: a value, its interval, and what they rest on.

1. A mean over steps (or pairs) is a sum and a count for each example, `Ratio`.
2. Pooled by step it is the quotient of the sums; pooled by example the mean of the quotients.
3. All examples once give the value, resamples of examples the interval.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrieval_lens.analysis.drawing import BATCH, Weights, percentile_ends

ORDER = (
    *("mean_active", "std_active", "empty_share", "unique_heads", "unique_share", "total_heads"),
    *("jaccard_static", "jaccard_ceiling", "jaccard_over_ceiling", "coverage", "precision"),
    *("chance_corrected", "adjacent_jaccard", "adjacent_jaccard_excess"),
    *("entropy", "entropy_raw", "exp_entropy", "effective_heads"),
    *("retest_jaccard", "retest_jaccard_excess", "shared_share"),
)
WITHOUT_INTERVAL = frozenset({"unique_heads", "unique_share", "total_heads"})


class Key(NamedTuple):
    """Which statistic a row of the table is.

    Attributes:
        statistic: Its name.
        k: Heads of the static ranking, where it depends on them.
        empty: Reading of empty steps, `count` or `skip`; None where it does not matter.
        pooled: `steps`: every step counts alike; `examples`: mean of the examples' own means.
        null: `shuffled` or `bernoulli` in rows that tell of a null; None elsewhere.
    """

    statistic: str
    k: int | None = None
    empty: str | None = None
    pooled: str = "steps"
    null: str | None = None


class Ratio(NamedTuple):
    """Sum and count of each example.

    Attributes:
        total: `[example]`, sum over its steps.
        n: `[example]`, how many steps that is.
    """

    total: Float[np.ndarray, " example"]
    n: Float[np.ndarray, " example"]


Values = dict[Key, Float[np.ndarray, " resample"]]
COLUMNS = (*Key._fields, "value", "low", "high", "n_examples", "n_steps")


def ratios_of(parts: list[dict[Key, tuple[float, float]]]) -> dict[Key, Ratio]:
    """The examples' sums and counts, one array a statistic."""
    return {
        key: Ratio(*(np.array([part[key][i] for part in parts], np.float64) for i in (0, 1)))
        for key in parts[0]
    }


def ratio_values(ratios: Mapping[Key, Ratio], weights: Weights) -> Values:
    """Means pooled by step and by example, and what was measured minus its shuffled null."""
    found = {}
    for key, (total, n) in ratios.items():
        found[key] = over(weights @ total, weights @ n)
        own, has_own = np.nan_to_num(over(total, n)), (n > 0).astype(np.float64)
        found[key._replace(pooled="examples")] = over(weights @ own, weights @ has_own)
    for key in [key for key in found if key.null]:
        excess = key._replace(statistic=f"{key.statistic}_excess")
        found[excess] = found[key._replace(null=None)] - found[key]
    return found


def statistics_table(
    values: Callable[[Weights], Values],
    support: Callable[[Key], Float[np.ndarray, " example"]],
    weights: Weights,
    confidence: float | int,
) -> pd.DataFrame:
    """One row a statistic, in a fixed order.

    Args:
        values: Every statistic at each row of weights, NaN where it is undefined.
        support: Steps (or pairs of steps) of each example that a statistic rests on.
        weights: Of the resamples.
        confidence: Of the intervals.
    """
    n_examples = weights.shape[1]
    once = values(np.ones((1, n_examples)))
    parts = [values(part) for part in np.array_split(weights, -(-len(weights) // BATCH))]
    rows: list[tuple[Any, ...]] = []
    for key in sorted(once, key=_place):
        ends = (np.nan, np.nan)
        if n_examples > 1 and key.statistic not in WITHOUT_INTERVAL:
            draws = np.concatenate([part[key] for part in parts])
            ends = tuple(float(end) for end in percentile_ends(draws, confidence))
        steps = support(key)
        rows.append((*key, float(once[key][0]), *ends, int((steps > 0).sum()), int(steps.sum())))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype({"k": "Int64", "n_examples": int, "n_steps": int})


def measured(key: Key) -> Key:
    """The measured statistic behind a null, a difference or another pooling."""
    name = key.statistic.removesuffix("_excess")
    return key._replace(statistic=name, pooled="steps", null=None)


def over(
    total: Float[np.ndarray, "..."], count: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Quotient, NaN where the count is 0."""
    shape = np.broadcast_shapes(total.shape, count.shape)
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)


def _place(key: Key) -> tuple[Any, ...]:
    """Where a row stands: by statistic, size, pooling, reading, the measured before its nulls."""
    rest = (key.k or 0, key.pooled == "examples", key.empty or "", key.null or "")
    return ORDER.index(key.statistic), *rest
