"""Random windows: as long as those of another strategy, anywhere in the context."""

from dataclasses import dataclass
from typing import Any, ClassVar

from retrieval_lens.rag.budget import random_spans
from retrieval_lens.rag.strategies.base import (
    Request,
    Retrieved,
    Strategy,
    register_strategy,
    require_like,
)


@register_strategy
@dataclass(frozen=True)
class RandomWindows(Strategy):
    """Windows at random places; the draw depends on seed, example and round.

    Args:
        like: As many and as long windows as this strategy would show at the same place of this
            answer.

    Raises:
        InputError: `like` retrieves nothing.
    """

    like: Any
    name: ClassVar[str] = "random_windows"

    def __post_init__(self) -> None:
        require_like(self.like)

    @property
    def hidden_at(self) -> tuple[str, ...]:
        """What `like` needs."""
        return self.like.hidden_at

    def require(self, model: Any, example: Any) -> None:
        """Refuse what `like` refuses.

        Raises:
            InputError: As `like`.
        """
        self.like.require(model, example)

    def windows(self, request: Request) -> Retrieved:
        """New places for windows of the same lengths."""
        lengths = [end - start for start, end in self.like.windows(request).windows]
        seed = request.seed_of("windows", request.round)
        return Retrieved(tuple(random_spans(request.context.span, lengths, seed)))

    def parameters(self) -> dict[str, Any]:
        """See `Strategy`."""
        return super().parameters() | {"like": self.like.parameters()}
