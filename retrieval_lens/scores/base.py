"""What a step score is: one number a head, read off one attention row.

A score works in two moments, so that no attention row has to be kept:

1. `observe` sees the rows of one decode step, while they exist, and keeps a few numbers of each
   (its *channels*): a position, a mass.
2. `finish` turns what was kept, and the tokens that came out, into the score.

Scores that observe the same thing (`observes` is equal) share one observation, so a trace can be
scored anew with other parameters of the second moment without running the model again.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.types import EvidencePositions, TokenIds


@dataclass(frozen=True, eq=False)
class AttentionRows:
    """Attention rows of one decode step (or of several query positions), in float32.

    Attributes:
        pattern: `[row, head, key_pos]`, post-softmax; `head` runs over one or several layers.
        key_positions: `[row, key_pos]`, the absolute position of each key; below 0 it is padding.
        query_positions: `[row]`, the absolute position that looks.
        evidence: `[row, key_pos]`, whether the key is an evidence token.
    """

    pattern: Float[Tensor, "row head key_pos"]
    key_positions: Int[Tensor, "row key_pos"]
    query_positions: Int[Tensor, " row"]
    evidence: Bool[Tensor, "row key_pos"]

    @cached_property
    def argmax(self) -> Int[Tensor, "row head"]:
        """Index of the most attended key (not its position); ties go to the lowest."""
        return self.pattern.argmax(-1)


@dataclass(frozen=True, eq=False)
class DecodedSteps:
    """The tokens around the rows: what was predicted where, and after which text.

    Attributes:
        token_ids: `[pos]`, prompt and what followed it.
        prompt_length: Where the generated text begins in `token_ids`.
        query_positions: `[step]`, the position each step looks from.
        predicted: `[step]`, the token predicted there (y_t); -1 where it is not known.
        evidence: `[evidence]`, positions of the evidence.
    """

    token_ids: TokenIds
    prompt_length: int
    query_positions: Int[Tensor, " step"]
    predicted: Int[Tensor, " step"]
    evidence: EvidencePositions

    @classmethod
    def of_response(
        cls,
        prompt: Int[Tensor, " _"],
        tokens: Int[Tensor, " step"],
        evidence: Int[Tensor, " evidence"],
    ) -> "DecodedSteps":
        """The steps that wrote `tokens` after `prompt`; step 0 looks from the last prompt token."""
        first = len(prompt) - 1
        query_positions = torch.arange(first, first + len(tokens))
        return cls(torch.cat([prompt, tokens]), len(prompt), query_positions, tokens, evidence)


class StepScore(ABC):
    """Base of all step scores; subclass it and write `observe` for a score of your own.

    Attributes:
        name: Key of the score in a trace.
        observes: Name of what `observe` keeps, parameters included; equal names share it.
        channels: Name of each number that `observe` keeps of a row.
    """

    name: str
    channels: ClassVar[tuple[str, ...]] = ("value",)

    @property
    def observes(self) -> str:
        """What `observe` keeps; by default the score's own name."""
        return self.name

    @abstractmethod
    def observe(self, rows: AttentionRows) -> Float[Tensor, "row head channel"]:
        """Keep a few numbers of each row."""

    def finish(
        self, observed: Float[Tensor, "step layer head channel"], steps: DecodedSteps
    ) -> Float[Tensor, "step layer head"]:
        """The score; by default the first channel as it is."""
        return observed[..., 0]

    def chance(self, steps: DecodedSteps) -> Float[Tensor, " step"]:
        """The score of a head that attends to the whole context uniformly; NaN if meaningless."""
        return torch.full(steps.query_positions.shape, float("nan"))

    def threshold(self, chance: Float[Tensor, " step"]) -> Float[Tensor, " step"]:
        """A head is active (dynamic) at a step where its score is above this; 0.5 by default."""
        return torch.full_like(chance, 0.5)

    def parameters(self) -> dict[str, Any]:
        """Class and parameters, JSON-able, for the record."""
        values = asdict(self) if is_dataclass(self) else dict(vars(self))
        return {"class": type(self).__name__, "observes": self.observes, **values}


def check_scores(scores: Sequence[Any]) -> tuple[StepScore, ...]:
    """The scores, if they can be traced together.

    Raises:
        InputError: Something else than step scores, two scores of one name, two that observe the
            same in different ways, or no score.
    """
    if not scores:
        raise InputError("scores is empty; give at least one, such as CopyPaste()")
    for score in scores:
        if not isinstance(score, StepScore):
            raise InputError(
                f"a score is an object such as CopyPaste() or Reasoning(), not {score!r}"
            )
    names = [score.name for score in scores]
    if len(set(names)) < len(names):
        raise InputError(f"two scores have the same name: {names}; pass name= to tell them apart")
    readers = {(score.observes, type(score).observe) for score in scores}
    if len(readers) > len({score.observes for score in scores}):
        raise InputError(
            "two scores say that they observe the same but read rows differently; give the one "
            "that overrides observe() an `observes` of its own"
        )
    return tuple(scores)
