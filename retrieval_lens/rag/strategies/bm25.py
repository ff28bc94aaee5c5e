"""BM25: sentences of the context by word overlap, as many tokens as another strategy shows."""

from dataclasses import dataclass
from typing import ClassVar

from retrieval_lens.rag.budget import bm25_spans
from retrieval_lens.rag.strategies.base import Request, Retrieved, register_strategy
from retrieval_lens.rag.strategies.matched import Matched


@register_strategy
@dataclass(frozen=True)
class BM25(Matched):
    """The sentences most like question and answer so far.

    Args:
        like: As many tokens as this strategy would show at the same place of this answer.

    Raises:
        InputError: `like` retrieves nothing.
    """

    name: ClassVar[str] = "bm25"

    def windows(self, request: Request) -> Retrieved:
        """The best sentences, the last one in part."""
        spans, texts = request.context.sentences
        query = f"{request.question} {request.text}"
        n_tokens = self.like.windows(request).n_tokens
        return Retrieved(tuple(bm25_spans(query, spans, texts, n_tokens)))
