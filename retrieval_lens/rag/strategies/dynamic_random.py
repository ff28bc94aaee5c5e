"""Dynamic random: heads drawn anew at every retrieval."""

from dataclasses import dataclass
from typing import Any, ClassVar

from retrieval_lens.rag.strategies.base import Request, register_strategy
from retrieval_lens.rag.strategies.fixed_random import FixedRandom


@register_strategy
@dataclass(frozen=True)
class DynamicRandom(FixedRandom):
    """`k` heads, uniformly from all; the draw depends on seed, example and round.

    Args:
        k: How many heads.

    Raises:
        InputError: `k` out of range.
    """

    name: ClassVar[str] = "dynamic_random"

    def drawn_for(self, request: Request) -> tuple[Any, ...]:
        """The round."""
        return (request.round,)
