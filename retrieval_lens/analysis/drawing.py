"""How examples are drawn anew, as the number of times that each is in a resample.

Within each stratum (haystack) as many examples are drawn as it has, with replacement. Weights
instead of indices: one matrix product then gives the sums of all resamples.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from retrieval_lens.errors import InputError

Weights = Float[np.ndarray, "resample example"]
BATCH = 256  # resamples at a time, so that a large corpus fits into memory


def groups_of(n: int, strata: Iterable[Any] | None) -> list[Int[np.ndarray, " _"]]:
    """The indices of each stratum; one group of all if a stratum has a single example.

    Raises:
        InputError: Not one stratum an example.
    """
    if strata is None:
        return [np.arange(n)]
    labels = [str(label) for label in strata]
    if len(labels) != n:
        raise InputError(f"{len(labels)} strata for {n} examples; wanted one an example")
    groups = [np.flatnonzero(np.array(labels) == label) for label in sorted(set(labels))]
    # a stratum of one would never vary, and the interval would be too narrow
    return groups if all(len(group) > 1 for group in groups) else [np.arange(n)]


def resample_weights(n: int, strata: Iterable[Any] | None, n_resamples: int, seed: int) -> Weights:
    """How often each of `n` examples is drawn in each resample; a row sums to `n`.

    Raises:
        InputError: Not one stratum an example.

    Example:
        >>> resample_weights(4, "aabb", n_resamples=3, seed=0)[:, :2].sum(1).tolist()
        [2.0, 2.0, 2.0]
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_resamples, n))
    for group in groups_of(n, strata):
        drawn = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), n_resamples)
        weights[:, group] = drawn
    return weights


def percentile_ends(
    draws: Float[np.ndarray, "... resample"], confidence: float | int
) -> Float[np.ndarray, "2 ..."]:
    """Lower and upper end of the interval; NaN where a resample leaves the statistic undefined."""
    tail = (1 - confidence) / 2
    return np.quantile(draws, [tail, 1 - tail], axis=-1)
