"""Tests of two conditions, and the correction for several.

1. McNemar for 0/1 outcomes of pairs: only the pairs that disagree count, against a fair coin.
2. Wilson's interval for the share of a cell.
3. Holm over the conditions of one comparison.
"""

from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from retrieval_lens.analysis.checks import pairs, require_settings, sample
from retrieval_lens.analysis.resampling import Interval
from retrieval_lens.errors import InputError


@dataclass(frozen=True)
class McNemar:
    """Outcome of McNemar's exact test.

    Attributes:
        only_a: Pairs in which a alone is 1.
        only_b: Pairs in which b alone is 1.
        n: All pairs.
        p: Two-sided p-value; 1 where no pair disagrees.
    """

    only_a: int
    only_b: int
    n: int
    p: float


def mcnemar(a: Any, b: Any) -> McNemar:
    """McNemar's exact test of two 0/1 outcomes of the same examples.

    Args:
        a: `[example]`, 0/1 or booleans.
        b: `[example]`, the same examples in the same order.

    Raises:
        InputError: No pair, different lengths, or a value other than 0 and 1.
        NumericalError: A value is NaN or infinite.

    Examples:
        >>> mcnemar([1, 1, 1, 1, 0], [0, 0, 0, 0, 0]).p
        0.125
    """
    first, second = pairs(a, b)
    if not np.isin(np.concatenate([first, second]), (0, 1)).all():
        raise InputError("McNemar's test compares 0/1 outcomes; for numbers use paired_bootstrap")
    only_a, only_b = int((first > second).sum()), int((second > first).sum())
    differ = only_a + only_b
    p = float(stats.binomtest(only_a, differ).pvalue) if differ else 1.0
    return McNemar(only_a, only_b, len(first), p)


def wilson(successes: Any, n: Any, *, confidence: float | int = 0.95) -> Interval:
    """The share of successes with Wilson's interval.

    Args:
        successes: How many of the trials succeeded.
        n: How many trials there were.
        confidence: Of the interval.

    Raises:
        InputError: Not whole numbers with 0 <= successes <= n and n >= 1.

    Examples:
        >>> found = wilson(5, 5)
        >>> found.value, round(found.low, 3), found.high
        (1.0, 0.566, 1.0)
    """
    require_settings(1, confidence)
    try:
        hits, trials = index(successes), index(n)
    except TypeError as error:
        raise InputError(f"wanted whole numbers, received {successes!r} of {n!r}") from error
    if not 0 <= hits <= trials or not trials:
        raise InputError(f"wanted 0 <= successes <= n and n >= 1; got {hits} of {trials}")
    found = stats.binomtest(hits, trials)
    ends = found.proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(hits / trials, float(ends.low), float(ends.high), n=trials)


def holm(pvalues: Any) -> Float[np.ndarray, " _"]:
    """Holm's adjusted p-values, in the order given.

    The smallest of m is multiplied by m, the next by m − 1 and so on; none gets smaller than the
    one before it, none exceeds 1.

    Raises:
        InputError: No p-value, or one outside 0 to 1.
        NumericalError: One is NaN.

    Examples:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    raw = sample(pvalues, "pvalues")
    if raw.min() < 0 or raw.max() > 1:
        raise InputError(f"a p-value lies between 0 and 1; got {raw.min()} to {raw.max()}")
    from statsmodels.stats.multitest import multipletests  # a second and a half to import

    return np.asarray(multipletests(raw, method="holm")[1])
