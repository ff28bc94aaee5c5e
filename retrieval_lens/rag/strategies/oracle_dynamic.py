"""Oracle dynamic: the heads that really score highest here; it knows the evidence."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.heads import HeadSet
from retrieval_lens.rag.checks import whole
from retrieval_lens.rag.strategies.base import (
    Request,
    Retrieved,
    Strategy,
    register_strategy,
    require_count,
)
from retrieval_lens.scores import AttentionRows, DecodedSteps, Reasoning, StepScore


@register_strategy
@dataclass(frozen=True)
class OracleDynamic(Strategy):
    """The `k` heads of largest score at this position, of equal ones the lowest first.

    The heads that a perfect probe of this score would choose. No bound of the evidence recall: the
    windows follow the attention of the heads, not their score.

    Args:
        k: How many heads.
        score: A step score; Eq. 2 by default.

    Raises:
        InputError: `k` out of range, or no step score.
    """

    k: Any = 5
    score: Any = Reasoning()
    name: ClassVar[str] = "oracle_dynamic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", whole("k", self.k, 1))
        if not isinstance(self.score, StepScore):
            raise InputError(f"score is a step score such as Reasoning(); got {self.score!r}")

    def require(self, model: Any, example: Any) -> None:
        """Refuse more heads than there are.

        Raises:
            InputError: The model has fewer than `k`.
        """
        require_count(self.k, model)

    def windows(self, request: Request) -> Retrieved:
        """By the heads of largest score."""
        scores = self.scores(request)
        require_count(self.k, (scores.shape[0], scores.shape[1]))
        ranked = scores.flatten().sort(descending=True, stable=True)
        heads = [divmod(i, scores.shape[1]) for i in ranked.indices[: self.k].tolist()]
        made = {"detector": "oracle", "score": self.score.parameters()}
        ids = [request.context.example.id]
        found = HeadSet(heads, ranked.values[: self.k].tolist(), example_ids=ids, provenance=made)
        return request.by_heads(found)

    def scores(self, request: Request) -> Float[Tensor, "layer head"]:
        """The score of every head at the last position."""
        look, example = request.look(), request.context.example
        n_layers, n_heads, n_keys = look.rows.shape
        positions = torch.arange(n_keys)
        rows = AttentionRows(
            pattern=look.rows.flatten(0, 1).unsqueeze(0).float(),
            key_positions=positions.unsqueeze(0),
            query_positions=positions[-1:],
            evidence=torch.isin(positions, example.evidence).unsqueeze(0),
        )
        steps = DecodedSteps(
            token_ids=torch.cat([example.token_ids, torch.tensor(request.generated).long()]),
            prompt_length=len(example.token_ids),
            query_positions=positions[-1:],
            predicted=torch.tensor([look.predicted]),
            evidence=example.evidence,
        )
        observed = self.score.observe(rows).unflatten(1, (n_layers, n_heads))
        return self.score.finish(observed, steps)[0]

    def parameters(self) -> dict[str, Any]:
        """See `Strategy`."""
        return super().parameters() | {"score": self.score.parameters()}
