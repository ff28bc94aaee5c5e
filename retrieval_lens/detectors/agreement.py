"""How alike two rankings are: shared places at the top, and rank correlation."""

from collections.abc import Sequence
from math import nan
from typing import Any

from scipy import stats

FEWEST = 3  # heads; two always correlate perfectly


def places(scores: Sequence[float | int], k: int) -> tuple[list[float], int]:
    """The chance of each rank to be in the top `k` when ties at the cut are drawn by lot.

    Args:
        scores: In the order of the list.
        k: Places; at most as many as scores.

    Returns:
        A chance for each rank that has one, and how many heads tie for the last places.

    Examples:
        >>> places([0.9, 0.2, 0.2, 0.2, 0.0], k=2)
        ([1.0, 0.3333333333333333, 0.3333333333333333, 0.3333333333333333], 3)
        >>> places([0.9, 0.2, 0.1], k=2)
        ([1.0, 1.0], 0)
    """
    first, last = k - 1, k
    while first > 0 and scores[first - 1] == scores[k - 1]:
        first -= 1
    while last < len(scores) and scores[last] == scores[k - 1]:
        last += 1
    if last == k:
        return [1.0] * k, 0
    tied = last - first
    return [1.0] * first + [(k - first) / tied] * tied, tied


def spearman(x: Sequence[float | int], y: Sequence[float | int]) -> tuple[float, str | None]:
    """Spearman's rho, or NaN and why there is none.

    Examples:
        >>> round(spearman([1, 2, 3, 4], [1, 3, 2, 4])[0], 6)
        0.8
        >>> spearman([1, 2, 3], [0, 0, 0])[1]
        'all scores of a list are equal'
    """
    if len(x) < FEWEST:
        return nan, f"both lists score {len(x)} heads, fewer than {FEWEST}"
    if len(set(x)) == 1 or len(set(y)) == 1:
        return nan, "all scores of a list are equal"
    found: Any = stats.spearmanr(x, y)
    return float(found.statistic), None
