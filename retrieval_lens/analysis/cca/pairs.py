"""Which hidden state is paired with which scores.

1. All steps of all examples stand in one table, row by row, examples ordered by their names.
2. At offset k step n is paired with the scores of step n + k. `reach` says how far a step must
   have successors to be used: k itself uses every pair there is, the largest offset of all gives
   every offset the same steps.
3. A null pairs the steps of one example with the scores of another at the same step: whole
   trajectories are exchanged, so that what only the step index explains stays. Steps that one of
   the two does not have are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from retrieval_lens.analysis.cca.settings import CcaSettings
from retrieval_lens.analysis.drawing import unit_of
from retrieval_lens.analysis.trajectories import Trajectory
from retrieval_lens.errors import InputError

LEAST_EXAMPLES = 2  # on each side of the split

Examples = Int[np.ndarray, " _"]


@dataclass(frozen=True, eq=False)
class StepTable:
    """All steps of all examples; rows of an example are neighbours, in the order of its steps.

    Attributes:
        hidden: `[row, d_model]`.
        scores: `[row, head]`, all heads of the model in one axis.
        filled: `[row]`, whether any head is active.
        inputs: `[row]`, the token x_n.
        tokens: `[row]`, the token y_n.
        step: `[row]`, the step's index in its example.
        lengths: `[example]`, steps of each.
        names: The examples.
        strata: The haystack of each.
        groups: Which of them must stay on one side of a split.
        units: Which of them intervals draw together.
    """

    hidden: Float[np.ndarray, "row d_model"]
    scores: Float[np.ndarray, "row head"]
    filled: Bool[np.ndarray, " row"]
    inputs: Int[np.ndarray, " row"]
    tokens: Int[np.ndarray, " row"]
    step: Int[np.ndarray, " row"]
    lengths: Int[np.ndarray, " example"]
    names: tuple[str, ...]
    strata: tuple[Any, ...]
    groups: tuple[str, ...]
    units: tuple[str, ...]

    @property
    def starts(self) -> Int[np.ndarray, " example"]:
        """Row of the first step of each example."""
        return np.cumsum(self.lengths) - self.lengths


def step_table(found: Sequence[Trajectory]) -> StepTable:
    """Trajectories as one table, in the order of their names."""
    found = sorted(found, key=lambda one: one.example_id)
    parts = {
        name: np.concatenate([getattr(one, name).flatten(1).cpu().numpy() for one in found])
        for name in ("hidden", "scores", "active")
    }
    ids = {
        name: np.concatenate([getattr(one, name).cpu().numpy() for one in found])
        for name in ("inputs", "tokens")
    }
    return StepTable(
        hidden=parts["hidden"],
        scores=parts["scores"].astype(np.float64),
        filled=parts["active"].max(1),
        step=np.concatenate([np.arange(one.n_steps) for one in found]),
        lengths=np.array([one.n_steps for one in found]),
        names=tuple(one.example_id for one in found),
        strata=tuple(one.stratum for one in found),
        groups=tuple(one.group for one in found),
        units=tuple(unit_of(one) for one in found),
        **ids,
    )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows that belong together.

    Attributes:
        source: `[pair]`, row of the hidden state.
        target: `[pair]`, row of the scores.
        example: `[pair]`, whose hidden state it is.
    """

    source: Int[np.ndarray, " pair"]
    target: Int[np.ndarray, " pair"]
    example: Int[np.ndarray, " pair"]

    def __len__(self) -> int:
        return len(self.source)

    def where(self, kept: Bool[np.ndarray, " pair"]) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.source[kept], self.target[kept], self.example[kept])

    @property
    def n_examples(self) -> int:
        """Examples that have a pair."""
        return len(np.unique(self.example))


def pairs_at(
    table: StepTable,
    examples: Examples,
    offset: int,
    reach: int,
    donors: Examples | None = None,
) -> Pairs:
    """The pairs of an offset.

    Args:
        table: All steps.
        examples: Whose steps.
        offset: Steps between the hidden state and the scores.
        reach: A step n is used if step n + reach is there too.
        donors: Whose scores, one for each of `examples`; None for its own.
    """
    donors = examples if donors is None else donors
    counts = (np.minimum(table.lengths[examples], table.lengths[donors]) - reach).clip(min=0)
    first = np.cumsum(counts) - counts
    n = np.arange(counts.sum()) - np.repeat(first, counts)
    starts = table.starts
    return Pairs(
        source=np.repeat(starts[examples], counts) + n,
        target=np.repeat(starts[donors], counts) + n + offset,
        example=np.repeat(examples, counts),
    )


def split_examples(table: StepTable, settings: CcaSettings) -> tuple[Examples, Examples]:
    """Training and held-out examples, of those that have a pair at the farthest offset.

    Needle examples with the same answer are on one side.

    Raises:
        InputError: Too few examples on a side.
    """
    if len(table.names) < 2 * LEAST_EXAMPLES:
        raise InputError(
            f"received {len(table.names)} examples; wanted at least {2 * LEAST_EXAMPLES}, since "
            "examples are held out and resampled"
        )
    long = np.flatnonzero(table.lengths > settings.reach)
    groups = list(dict.fromkeys(table.groups[i] for i in long))
    n_test = round(settings.test_share * len(groups))
    if min(n_test, len(groups) - n_test) < LEAST_EXAMPLES:
        raise InputError(
            f"offset {settings.reach}: {len(long)} of {len(table.names)} examples have more than "
            f"{settings.reach} steps (the longest has {table.lengths.max()}), with {len(groups)} "
            f"answers of their own, which leaves {len(groups) - n_test} to train on and {n_test} "
            f"to test on; wanted at least {LEAST_EXAMPLES} each: more examples, smaller offsets, "
            "or another test_share"
        )
    order = np.random.default_rng(settings.seed).permutation(len(groups))
    held_out = {groups[i] for i in order[:n_test]}
    in_test = np.array([table.groups[i] in held_out for i in long])
    return long[~in_test], long[in_test]


def exchanged(examples: Examples, n_nulls: int, seed: Sequence[int]) -> list[Examples]:
    """Another example for each one, drawn `n_nulls` times; nobody keeps its own."""
    rng = np.random.default_rng(seed)
    found: list[Examples] = []
    while len(found) < n_nulls:
        drawn = rng.permutation(examples)
        if (drawn != examples).all():
            found.append(drawn)
    return found
