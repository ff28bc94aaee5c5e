"""Fixed random: heads drawn once for an answer."""

from dataclasses import dataclass
from typing import Any, ClassVar

from retrieval_lens.heads import random_heads
from retrieval_lens.rag.checks import whole
from retrieval_lens.rag.strategies.base import (
    Request,
    Retrieved,
    Strategy,
    register_strategy,
    require_count,
)


@register_strategy
@dataclass(frozen=True)
class FixedRandom(Strategy):
    """`k` heads, uniformly from all; the draw depends on seed and example.

    Args:
        k: How many heads.

    Raises:
        InputError: `k` out of range.
    """

    k: Any = 5
    name: ClassVar[str] = "fixed_random"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", whole("k", self.k, 1))

    def require(self, model: Any, example: Any) -> None:
        """Refuse more heads than there are.

        Raises:
            InputError: The model has fewer than `k`.
        """
        require_count(self.k, model)

    def drawn_for(self, request: Request) -> tuple[Any, ...]:
        """What the draw depends on beside seed and example: nothing."""
        return ()

    def windows(self, request: Request) -> Retrieved:
        """By the drawn heads."""
        n_layers, n_heads = request.look().rows.shape[:2]
        seed = request.seed_of("heads", *self.drawn_for(request))
        return request.by_heads(random_heads((n_layers, n_heads), self.k, seed))
