"""What chooses the heads of each step: the base of the dynamic set and of every control.

1. At each decode step a clean pass shows which heads are active; that is a `CleanStep`.
2. A `StepHeads` turns it into the heads that are masked when the step is run again.

A control of your own is one class with one method, `select`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from random import Random
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.scores import CopyPaste, StepScore
from retrieval_lens.tracing import Trace


@dataclass(frozen=True, eq=False)
class CleanStep:
    """What the clean pass of one step showed.

    Attributes:
        index: The step, from 0.
        example_id: The example.
        active: `[layer, head]`, D_t.
        scores: `[layer, head]` by the strategy's score.
        weights: `[layer, head]`, attention at the most attended position.
        masses: `[layer, head]`, attention on the evidence; zeros unless `reads_masses`.
        trace: The clean trace of the whole response; None unless `reads_trace`.
    """

    index: int
    example_id: str
    active: Bool[Tensor, "layer head"]
    scores: Float[Tensor, "layer head"]
    weights: Float[Tensor, "layer head"]
    masses: Float[Tensor, "layer head"]
    trace: Trace | None = None

    @property
    def dynamic(self) -> HeadSet:
        """D_t, by layer and head."""
        return HeadSet.from_mask(self.active)

    def random(self, seed: int) -> Random:
        """A generator for this step of this example alone, so that batches change nothing."""
        return Random(f"{seed}/{self.example_id}/{self.index}")


class StepHeads(ABC):
    """Chooses the heads of every step.

    Attributes:
        score: By which heads are active.
        reads_step: Whether `select` looks at the step's own clean pass.
        reads_trace: Whether it looks at the clean trace of the whole response.
        reads_masses: Whether it looks at the attention on the evidence.
    """

    score: StepScore = CopyPaste()
    reads_step: ClassVar[bool] = True
    reads_trace: ClassVar[bool] = False
    reads_masses: ClassVar[bool] = False

    @abstractmethod
    def select(self, step: CleanStep) -> HeadSet:
        """The heads to mask at this step."""

    def sets(self) -> tuple[HeadSet, ...]:
        """The fixed head sets that it holds, to be checked against model and example."""
        values = [getattr(self, f.name) for f in fields(self)] if is_dataclass(self) else []
        return tuple(value for value in values if isinstance(value, HeadSet))

    def parameters(self) -> dict[str, Any]:
        """Class and parameters, JSON-able, for the record."""
        found: dict[str, Any] = {"class": type(self).__name__}
        for field in fields(self) if is_dataclass(self) else ():
            value = getattr(self, field.name)
            if isinstance(value, HeadSet):
                value = value.as_json()
            found[field.name] = value.parameters() if isinstance(value, StepScore) else value
        return found


@dataclass(frozen=True, eq=False)
class Fixed(StepHeads):
    """The same heads at every step."""

    heads: HeadSet
    reads_step: ClassVar[bool] = False

    def select(self, step: CleanStep) -> HeadSet:
        """The set itself."""
        return self.heads


@dataclass(frozen=True, eq=False)
class Scheduled(StepHeads):
    """A set for each step, known beforehand; none beyond the last."""

    steps: tuple[HeadSet, ...]
    reads_step: ClassVar[bool] = False

    def select(self, step: CleanStep) -> HeadSet:
        """The set of this step."""
        return self.steps[step.index] if step.index < len(self.steps) else HeadSet()

    def sets(self) -> tuple[HeadSet, ...]:
        """Every step's set."""
        return self.steps

    def parameters(self) -> dict[str, Any]:
        """The heads of every step."""
        return {"class": "Scheduled", "steps": [[list(h) for h in s] for s in self.steps]}


def as_step_heads(heads: Any) -> StepHeads:
    """A strategy from a strategy, a head set, a list of heads, one set a step, or None.

    Raises:
        InputError: Something else.
    """
    if isinstance(heads, StepHeads):
        return heads
    if heads is None:
        return Fixed(HeadSet())
    if isinstance(heads, HeadSet):
        return Fixed(heads)
    if isinstance(heads, Sequence) and not isinstance(heads, str):
        if heads and all(isinstance(one, HeadSet) for one in heads):
            return Scheduled(tuple(heads))
        return Fixed(HeadSet(heads))
    raise InputError(f"heads is a HeadSet, one HeadSet a step, or such as Dynamic(); got {heads!r}")


def strongest(
    candidates: Bool[Tensor, "layer head"],
    keys: Sequence[Float[Tensor, "layer head"]],
    k: int,
) -> HeadSet:
    """The `k` candidates of largest first key, ties by the next key, then by layer and head."""
    indices = candidates.flatten().nonzero().flatten()
    for key in reversed(keys):
        values = key.flatten()[indices]
        indices = indices[values.sort(descending=True, stable=True).indices]
    n_heads = candidates.shape[1]
    return HeadSet([divmod(index, n_heads) for index in indices[:k].tolist()])


def rank_keys(static: HeadSet | None, like: Tensor) -> list[Tensor]:
    """A key that is larger the earlier a head stands in `static`, to break ties."""
    if static is None:
        return []
    key = torch.zeros(like.shape)
    for rank, (layer, head) in enumerate(static):
        key[layer, head] = len(static) - rank
    return [key]
