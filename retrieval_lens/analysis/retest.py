"""Test-retest: the active heads of the same needle in another haystack.

1. Responses are paired by what makes the needle: format, seed, length and depth.
2. Steps are paired by index as long as both responses wrote the same tokens, that step's own token
   included. From the first token that differs on, steps are left out: the two are then at
   different places of their text.
3. The null pairs each of these steps with every one of the other response: sets that are the same
   at all steps agree there as much.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from retrieval_lens.analysis.checks import require_settings
from retrieval_lens.analysis.drawing import resample_weights
from retrieval_lens.analysis.nulls import jaccard_matrix
from retrieval_lens.analysis.step_sets import StepSets, gathered, require_same
from retrieval_lens.analysis.table import Key, measured, ratio_values, ratios_of, statistics_table
from retrieval_lens.errors import InputError
from retrieval_lens.scores import StepScore

SAME = ("needle", "seed", "n_tokens", "depth")


def test_retest(
    traces_a: Any,
    traces_b: Any,
    *,
    score: str | StepScore = "copy_paste",
    n_resamples: int = 2000,
    confidence: float | int = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Jaccard of the active heads of the same needle in two haystacks, step by step.

    Rows and columns as in `dynamism`: `retest_jaccard` in both readings of empty steps, with its
    `shuffled` null and the `retest_jaccard_excess` over it; `shared_share` says which part of the
    longer response was compared. `n_examples` counts pairs that have something to compare. Pairs
    are resampled stratified by the two haystacks.

    Args:
        traces_a: Traces or StepSets.
        traces_b: As many, of the same needles in other haystacks.
        score: Which score makes a head active, for traces.
        n_resamples: How often pairs are drawn anew.
        confidence: Of the intervals.
        seed: Of the draws.

    Raises:
        InputError: A response without a partner, two of the same needle on one side, the same
            haystack on both, no tokens, or different models.
        UnknownNameError: No such score in a trace.
        NumericalError: A score is NaN.

    Examples:
        ```python
        here, there = [
            tracer.trace(rl.needle_example(model.tokenizer, 40, haystack=name), max_new_tokens=4)
            for name in ("coast", "essays")
        ]
        rl.analysis.test_retest([here], [there], n_resamples=100)
        ```
    """
    require_settings(n_resamples, confidence, seed)
    partners = _partners(gathered(traces_a, score), gathered(traces_b, score))
    parts = [_compared(a, b) for a, b in partners]
    ratios = ratios_of(parts)
    strata = [(a.meta.get("haystack"), b.meta.get("haystack")) for a, b in partners]
    weights = resample_weights(len(partners), strata, n_resamples, seed)
    return statistics_table(
        lambda weights: ratio_values(ratios, weights),
        lambda key: ratios[measured(key)].n,
        weights,
        confidence,
    )


# pytest would take the function for a test wherever it is imported
test_retest.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


def _partners(a: list[StepSets], b: list[StepSets]) -> list[tuple[StepSets, StepSets]]:
    """Responses to the same needle, in the order of `a`."""
    require_same([*a, *b])
    left, right = _by_needle(a), _by_needle(b)
    alone = sorted(map(str, left.keys() ^ right.keys()))
    if alone:
        raise InputError(
            f"{len(alone)} responses have no partner with the same {', '.join(SAME)}; the first "
            f"is {alone[0]}: pass both sides with the same needles"
        )
    found = [(one, right[needle]) for needle, one in left.items()]
    for one, other in found:
        same = one.meta.get("haystack") == other.meta.get("haystack")
        if same or one.example_id == other.example_id:
            raise InputError(
                f"{one.example_id!r} and {other.example_id!r} have the same haystack "
                f"({one.meta.get('haystack')!r}); test-retest wants another one"
            )
        if one.tokens is None or other.tokens is None:
            raise InputError(f"{one.example_id!r} or its partner holds no tokens; wanted both")
    return found


def _by_needle(sets: Sequence[StepSets]) -> dict[tuple[Any, ...], StepSets]:
    found: dict[tuple[Any, ...], StepSets] = {}
    for one in sets:
        missing = [name for name in SAME if name not in one.meta]
        if missing:
            raise InputError(f"{one.example_id!r} lacks {', '.join(missing)} in its meta")
        needle = tuple(one.meta[name] for name in SAME)
        if needle in found:
            raise InputError(
                f"{found[needle].example_id!r} and {one.example_id!r} are the same needle on one "
                "side; pass one haystack a side"
            )
        found[needle] = one
    return found


def _compared(a: StepSets, b: StepSets) -> dict[Key, tuple[float, float]]:
    """Sums and counts of one pair over the steps before the responses diverge."""
    n = min(a.n_steps, b.n_steps)
    assert a.tokens is not None and b.tokens is not None
    same = a.tokens[:n].cpu().numpy() == b.tokens[:n].cpu().numpy()
    shared = n if same.all() else int(same.argmin())
    first, second = a.flat[:shared], b.flat[:shared]
    matrix = jaccard_matrix(first, second)
    filled = np.outer(first.any(1), second.any(1))
    found = {Key("shared_share"): (float(shared), float(max(a.n_steps, b.n_steps)))}
    for empty, kept in (("count", np.ones_like(filled)), ("skip", filled)):
        found |= _both(Key("retest_jaccard", None, empty), matrix, kept)
    return found


def _both(
    key: Key, matrix: Float[np.ndarray, "step step"], kept: Bool[np.ndarray, "step step"]
) -> dict[Key, tuple[float, float]]:
    """The same steps, and every step with every other as the null."""
    n = max(1, len(matrix))
    step = np.arange(len(matrix))
    diagonal = matrix[step, step][kept[step, step]]
    return {
        key: (float(diagonal.sum()), float(diagonal.size)),
        # a random order pairs each of n steps with one of n: a share 1/n of all pairs
        key._replace(null="shuffled"): (float(matrix[kept].sum()) / n, float(kept.sum()) / n),
    }
