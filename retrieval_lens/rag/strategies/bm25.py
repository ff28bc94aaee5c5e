"""BM25: sentences of the context by word overlap, as many tokens as another strategy shows."""

from dataclasses import dataclass
from typing import Any, ClassVar

from retrieval_lens.rag.budget import bm25_spans
from retrieval_lens.rag.strategies.base import (
    Request,
    Retrieved,
    Strategy,
    register_strategy,
    require_like,
)


@register_strategy
@dataclass(frozen=True)
class BM25(Strategy):
    """The sentences most like question and answer so far.

    Args:
        like: As many tokens as this strategy would show at the same place of this answer.

    Raises:
        InputError: `like` retrieves nothing.
    """

    like: Any
    name: ClassVar[str] = "bm25"

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
        """The best sentences, the last one in part."""
        spans, texts = request.context.sentences
        query = f"{request.question} {request.text}"
        n_tokens = self.like.windows(request).n_tokens
        return Retrieved(tuple(bm25_spans(query, spans, texts, n_tokens)))

    def parameters(self) -> dict[str, Any]:
        """See `Strategy`."""
        return super().parameters() | {"like": self.like.parameters()}
