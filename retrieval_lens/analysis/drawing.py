"""How examples are drawn anew, as the number of times that each is in a resample.

1. What is drawn is a unit: an example, or all layouts of one question together.
2. Within each stratum (haystack) as many units are drawn as it has, with replacement.
3. Weights instead of indices: one matrix product then gives the sums of all resamples.
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


def unit_of(one: Any) -> str:
    """What an interval draws with this response: its question, else the example itself.

    Args:
        one: A response with `meta` and `example_id`.
    """
    question = one.meta.get("question_id")
    return f"example {one.example_id}" if question is None else f"question {question}"


def resample_weights(
    n: int,
    strata: Iterable[Any] | None,
    n_resamples: int,
    seed: int,
    groups: Iterable[Any] | None = None,
) -> Weights:
    """How often each of `n` examples is drawn in each resample.

    Args:
        n: Examples.
        strata: The stratum of each; None for one stratum. A single unit in a stratum, or one in
            two strata: all are drawn together.
        n_resamples: How often they are drawn anew.
        seed: Of the draws.
        groups: The unit of each, drawn as a whole; None: each example is one, and a row sums to
            `n`.

    Raises:
        InputError: Not one stratum, or not one group, an example.

    Examples:
        >>> resample_weights(4, "aabb", n_resamples=3, seed=0)[:, :2].sum(1).tolist()
        [2.0, 2.0, 2.0]
        >>> weights = resample_weights(3, None, n_resamples=9, seed=0, groups="aab")
        >>> (weights[:, 0] == weights[:, 1]).all().item()
        True
    """
    if groups is not None:
        member, strata = _units(n, strata, groups)
        weights = resample_weights(int(member.max()) + 1, strata, n_resamples, seed)
        return np.take(weights, member, axis=1)  # in the memory order of other weights
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_resamples, n))
    for group in groups_of(n, strata):
        drawn = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), n_resamples)
        weights[:, group] = drawn
    return weights


def _units(
    n: int, strata: Iterable[Any] | None, groups: Iterable[Any]
) -> tuple[Int[np.ndarray, " _"], list[str] | None]:
    """The unit of each example, in order of appearance, and the stratum of each unit."""
    labels = [str(label) for label in groups]
    if len(labels) != n:
        raise InputError(f"{len(labels)} groups for {n} examples; wanted one an example")
    places = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    member = np.array([places[label] for label in labels])
    if strata is None:
        return member, None
    strata = [str(stratum) for stratum in strata]
    if len(strata) != n:
        raise InputError(f"{len(strata)} strata for {n} examples; wanted one an example")
    found = dict(zip(labels, strata, strict=True))
    split = any(found[label] != stratum for label, stratum in zip(labels, strata, strict=True))
    # a unit that lies in two strata cannot be drawn whole within one
    return member, None if split else [found[label] for label in places]


def percentile_ends(
    draws: Float[np.ndarray, "... resample"], confidence: float | int
) -> Float[np.ndarray, "2 ..."]:
    """Lower and upper end of the interval; NaN where a resample leaves the statistic undefined."""
    tail = (1 - confidence) / 2
    return np.quantile(draws, [tail, 1 - tail], axis=-1)
