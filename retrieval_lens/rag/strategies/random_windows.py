"""Random windows: as long as those of another strategy, anywhere in the context."""

from dataclasses import dataclass
from typing import ClassVar

from retrieval_lens.rag.budget import random_spans
from retrieval_lens.rag.strategies.base import Request, Retrieved, register_strategy
from retrieval_lens.rag.strategies.matched import Matched


@register_strategy
@dataclass(frozen=True)
class RandomWindows(Matched):
    """Windows at random places; the draw depends on seed, example and round.

    Args:
        like: As many and as long windows as this strategy would show at the same place of this
            answer.

    Raises:
        InputError: `like` retrieves nothing.
    """

    name: ClassVar[str] = "random_windows"

    def windows(self, request: Request) -> Retrieved:
        """New places for windows of the same lengths."""
        lengths = [end - start for start, end in self.like.windows(request).windows]
        seed = request.seed_of("windows", request.round)
        return Retrieved(tuple(random_spans(request.context.span, lengths, seed)))
