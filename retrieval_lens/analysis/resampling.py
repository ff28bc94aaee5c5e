"""Bootstrap over examples, stratified.

1. The unit is the example: its steps, draws and heads go with it.
2. Within each stratum (haystack) as many examples are drawn as it has, with replacement.
3. The interval is the percentile interval of the statistic over the resamples.

SciPy draws here. The tables of many statistics draw weights instead (`drawing`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from retrieval_lens.analysis.checks import pairs, require_settings, sample
from retrieval_lens.analysis.drawing import BATCH, groups_of, percentile_ends


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval; the ends are NaN where there is only one example.

    Attributes:
        value: The statistic of the whole sample.
        low: Lower end.
        high: Upper end.
        n: Examples, or trials, that it rests on.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """The mean difference of pairs; interval and p-value are NaN where there is only one pair.

    Attributes:
        value: Mean of a − b.
        low: Lower end of the interval.
        high: Upper end.
        n: Pairs.
        p: Two-sided p-value.
    """

    value: float
    low: float
    high: float
    n: int
    p: float


def bootstrap_mean(
    values: Any,
    strata: Iterable[Any] | None = None,
    *,
    n_resamples: int = 2000,
    confidence: float | int = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean over examples with its bootstrap interval.

    Args:
        values: `[example]`, one number an example.
        strata: `[example]`, the stratum of each, such as its haystack; None for one stratum.
            If a stratum has a single example, all are drawn together.
        n_resamples: How often examples are drawn anew.
        confidence: Of the interval.
        seed: Of the draws.

    Returns:
        Mean and interval; with one example the interval is NaN.

    Raises:
        InputError: No value, not one number an example, or a parameter out of range.
        NumericalError: A value is NaN or infinite.

    Examples:
        >>> bootstrap_mean([0.0, 1.0, 1.0, 1.0]).value
        0.75
    """
    numbers = sample(values, "values")
    draws = _draws(numbers, strata, n_resamples, confidence, seed)
    return Interval(float(numbers.mean()), *_ends(draws, confidence), n=len(numbers))


def paired_bootstrap(
    a: Any,
    b: Any,
    strata: Iterable[Any] | None = None,
    *,
    n_resamples: int = 2000,
    confidence: float | int = 0.95,
    seed: int = 0,
) -> Difference:
    """The mean of a − b over pairs, with its bootstrap interval and p-value.

    The p-value is twice the share of resamples on the smaller side of zero, one resample added on
    each side, so that it is never below 2 / (n_resamples + 1).

    Args:
        a: `[example]`, one number an example.
        b: `[example]`, the same examples in the same order.
        strata: `[example]`, as in `bootstrap_mean`.
        n_resamples: How often pairs are drawn anew.
        confidence: Of the interval.
        seed: Of the draws.

    Raises:
        InputError: No pair, different lengths, or a parameter out of range.
        NumericalError: A value is NaN or infinite.

    Examples:
        >>> found = paired_bootstrap([0.1, 0.2, 0.3], [0.0, 0.1, 0.1])
        >>> round(found.value, 3), found.p < 0.01
        (0.133, True)
    """
    first, second = pairs(a, b)
    difference = first - second
    draws = _draws(difference, strata, n_resamples, confidence, seed)
    low, high = _ends(draws, confidence)
    if len(difference) < 2:
        return Difference(float(difference.mean()), low, high, n=1, p=nan)
    # sums of the same numbers in another order differ in the last bits, which must not leave zero
    near = 1e-12 * float(np.abs(difference).max())
    side = min(int((draws <= near).sum()), int((draws >= -near).sum()))
    p = min(1.0, 2 * (side + 1) / (n_resamples + 1))
    return Difference(float(difference.mean()), low, high, n=len(difference), p=p)


def _draws(
    numbers: Float[np.ndarray, " example"],
    strata: Iterable[Any] | None,
    n_resamples: int,
    confidence: float | int,
    seed: int,
) -> Float[np.ndarray, " resample"]:
    """Means of the resamples; none where there is one example."""
    require_settings(n_resamples, confidence, seed)
    groups = groups_of(len(numbers), strata)
    if len(numbers) < 2:
        return np.full(0, nan)
    found = stats.bootstrap(
        [numbers[group] for group in groups],  # SciPy draws each sample apart: strata
        lambda *drawn, axis: np.concatenate(drawn, axis).mean(axis),
        vectorized=True,
        n_resamples=n_resamples,
        batch=BATCH,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return found.bootstrap_distribution


def _ends(draws: Float[np.ndarray, " resample"], confidence: float | int) -> tuple[float, float]:
    if not len(draws):
        return nan, nan
    low, high = percentile_ends(draws, confidence)
    return float(low), float(high)
