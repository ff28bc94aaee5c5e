"""What each example adds to every statistic of dynamism.

1. A statistic that is a mean over steps, or over pairs of neighbours, is a sum and a count for each
   example. A resample of examples then needs no step again.
2. Both readings of empty steps: `count` keeps them, and two empty neighbours have Jaccard 1;
   `skip` leaves them out, and a pair needs two non-empty neighbours.
3. How often each head was active in each example, for what depends on the pooled shares of heads.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from retrieval_lens.analysis.nulls import jaccard_matrix
from retrieval_lens.analysis.table import Key, Ratio, ratios_of

Sums = dict[Key, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums of every example; the axis of examples comes first.

    Attributes:
        ratios: Sum and count of each mean over steps or pairs.
        counts: `[example, head]`, steps at which a head was active.
        n_steps: `[example]`.
        n_filled: `[example]`, steps with at least one active head.
        squares: `[example]`, sum of |D_t|² over steps.
    """

    ratios: dict[Key, Ratio]
    counts: Float[np.ndarray, "example head"]
    n_steps: Float[np.ndarray, " example"]
    n_filled: Float[np.ndarray, " example"]
    squares: Float[np.ndarray, " example"]


def tally(
    sets: Sequence[Bool[np.ndarray, "_ head"]], static: Sequence[int] | None, ks: Iterable[int]
) -> Tally:
    """Sums of the active heads of each example.

    Args:
        sets: Active heads `[step, head]`, one array an example.
        static: Indices of the ranked static heads, strongest first, or None.
        ks: How many of them to compare with.
    """
    ks = tuple(ks)
    sizes = [active.sum(1).astype(np.float64) for active in sets]
    return Tally(
        ratios=ratios_of([_example(active, static or (), ks) for active in sets]),
        counts=np.stack([active.sum(0) for active in sets]).astype(np.float64),
        n_steps=np.array([len(size) for size in sizes], np.float64),
        n_filled=np.array([(size > 0).sum() for size in sizes], np.float64),
        squares=np.array([(size**2).sum() for size in sizes]),
    )


def _example(
    active: Bool[np.ndarray, "step head"], static: Sequence[int], ks: tuple[int, ...]
) -> Sums:
    size = active.sum(1)
    filled = size > 0
    found = _both("mean_active", None, size, filled)
    found[Key("empty_share")] = _sum(~filled)
    found |= _neighbours(active, filled)
    for k in ks:
        found |= _against_static(active[:, list(static[:k])].sum(1), size, k, active.shape[1])
    return found


def _sum(values: np.ndarray) -> tuple[float, float]:
    return float(values.sum()), float(values.size)


def _both(name: str, k: int | None, values: np.ndarray, filled: np.ndarray) -> Sums:
    """One number a step in both readings of empty steps."""
    return {Key(name, k, "count"): _sum(values), Key(name, k, "skip"): _sum(values[filled])}


def _neighbours(active: Bool[np.ndarray, "step head"], filled: Bool[np.ndarray, " step"]) -> Sums:
    """Jaccard of neighbours, and its mean over all orders of the steps."""
    jaccard, both = jaccard_matrix(active, active), filled[:, None] & filled[None, :]
    found = {}
    for empty, kept in (("count", np.ones_like(both)), ("skip", both)):
        key = Key("adjacent_jaccard", None, empty)
        found[key] = _sum(jaccard.diagonal(1)[kept.diagonal(1)])
        pairs = np.triu(kept, 1)
        # a random order of n steps has n - 1 neighbours out of n (n - 1) / 2 pairs: a share 2 / n
        share = 2 / len(active)
        total, count = _sum(jaccard[pairs])
        found[key._replace(null="shuffled")] = share * total, share * count
    return found


def _against_static(
    both: Int[np.ndarray, " step"], size: Int[np.ndarray, " step"], k: int, n_heads: int
) -> Sums:
    """Overlap of each step's heads with the static top k, and its bounds."""
    filled = size > 0
    fewer, more = np.minimum(size, k), np.maximum(size, k)
    jaccard, ceiling = both / (size + k - both), fewer / more
    expected = size * k / n_heads
    room = fewer - expected
    free = room > 1e-9  # no room: no head active, or one of the two sets is the whole model
    found = _both("jaccard_static", k, jaccard, filled)
    found |= _both("jaccard_ceiling", k, ceiling, filled)
    found |= _both("precision", k, both / k, filled)
    found[Key("jaccard_over_ceiling", k)] = _sum(jaccard[filled] / ceiling[filled])
    found[Key("coverage", k)] = _sum(both[filled] / size[filled])
    found[Key("chance_corrected", k)] = _sum((both - expected)[free] / room[free])
    return found
