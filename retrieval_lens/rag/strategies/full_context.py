"""Full context: plain generation, the context visible all the time."""

from dataclasses import dataclass
from typing import ClassVar

from retrieval_lens.rag.strategies.base import Request, Retrieved, Strategy, register_strategy


@register_strategy
@dataclass(frozen=True)
class FullContext(Strategy):
    """Everything is shown from the first draft on; drafts are not judged."""

    name: ClassVar[str] = "full_context"
    retrieves: ClassVar[bool] = False
    starts_visible: ClassVar[bool] = True

    def windows(self, request: Request) -> Retrieved:
        """The whole context."""
        return Retrieved((request.context.span,))
