"""Copy-paste score, Eq. 1 of arXiv 2602.11162 (after Wu et al., arXiv 2404.15574).

1. i* = argmax_i a_i, the most attended position of the row; ties go to the lowest position.
2. The score is 1 if i* lies in the evidence and the token at i* is y_t, the token predicted at this
   step, else 0.
3. With `match="position"` i* must also be where the copy really continues: of the evidence
   positions that hold y_t, those whose preceding tokens share the longest suffix with the text
   generated so far. In a UUID most tokens occur twice, so the two readings differ.

At the same step the score contains y_t, which the final hidden state determines: where that state
predicts this score, part of it is the prediction of y_t.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.scores.base import AttentionRows, DecodedSteps, StepScore
from retrieval_lens.types import TokenIds


@dataclass(frozen=True)
class CopyPaste(StepScore):
    """Eq. 1: 0 or 1.

    Args:
        match: `"token"` compares token ids (the paper); `"position"` also asks for the right place.
        name: Key in the trace; by default `copy_paste`, or `copy_paste_position`.

    Raises:
        InputError: `match` is neither of the two.
    """

    match: str = "token"
    name: str = ""
    channels: ClassVar[tuple[str, ...]] = ("argmax_position",)

    def __post_init__(self) -> None:
        if self.match not in ("token", "position"):
            raise InputError(f"match is 'token' or 'position', not {self.match!r}")
        if not self.name:
            default = "copy_paste" if self.match == "token" else "copy_paste_position"
            object.__setattr__(self, "name", default)

    @property
    def observes(self) -> str:
        """The most attended position, whatever `match` is."""
        return "argmax_position"

    def observe(self, rows: AttentionRows) -> Float[Tensor, "row head channel"]:
        """The most attended position of each row (exact in float32 below 2^24)."""
        return rows.key_positions.gather(1, rows.argmax).float().unsqueeze(-1)

    def finish(
        self, observed: Float[Tensor, "step layer head channel"], steps: DecodedSteps
    ) -> Float[Tensor, "step layer head"]:
        """Eq. 1; NaN at steps whose predicted token is not known."""
        return copy_paste_score(observed[..., 0].long(), copy_targets(steps, self.match), steps)


def copy_paste_score(
    argmax_positions: Int[Tensor, "step layer head"],
    targets: Bool[Tensor, "step pos"],
    steps: DecodedSteps,
) -> Float[Tensor, "step layer head"]:
    """1 where the most attended position is a target of its step, 0 elsewhere."""
    step = torch.arange(len(targets)).view(-1, 1, 1)
    score = targets[step, argmax_positions].float()
    score[steps.predicted < 0] = float("nan")
    return score


def copy_targets(steps: DecodedSteps, match: str = "token") -> Bool[Tensor, "step pos"]:
    """The positions from which copying counts as retrieval, one row a step; none lies ahead of it.

    Examples:
        >>> ids = torch.tensor([5, 7, 6, 7, 9, 5])  # evidence 5 7 6 7, generated 5
        >>> steps = DecodedSteps(ids, 5, torch.tensor([5]), torch.tensor([7]), torch.arange(4))
        >>> copy_targets(steps, "token").nonzero()[:, 1].tolist()
        [1, 3]
        >>> copy_targets(steps, "position").nonzero()[:, 1].tolist()
        [1]
    """
    targets = torch.zeros(len(steps.predicted), len(steps.token_ids), dtype=torch.bool)
    evidence_tokens = steps.token_ids[steps.evidence]
    for step, (query, token) in enumerate(
        zip(steps.query_positions.tolist(), steps.predicted.tolist(), strict=True)
    ):
        found = steps.evidence[(evidence_tokens == token) & (steps.evidence <= query)]
        if match == "position" and len(found) > 1:
            shared = [shared_suffix(steps.token_ids, p, steps.prompt_length, query) for p in found]
            found = found[torch.tensor(shared) == max(shared)]
        targets[step, found] = True
    return targets


def shared_suffix(
    token_ids: TokenIds, position: Int[Tensor, ""] | int, prompt_length: int, query: int
) -> int:
    """How many tokens before `position` equal the last ones generated up to `query`."""
    before = token_ids[: int(position)].flip(0)
    generated = token_ids[prompt_length : query + 1].flip(0)
    n = min(len(before), len(generated))
    differ = (before[:n] != generated[:n]).nonzero()
    return int(differ[0]) if len(differ) else n
