"""No context: plain generation, the context hidden all the time."""

from dataclasses import dataclass
from typing import ClassVar

from retrieval_lens.rag.strategies.base import Request, Retrieved, Strategy, register_strategy


@register_strategy
@dataclass(frozen=True)
class NoContext(Strategy):
    """Nothing is ever shown; drafts are not judged."""

    name: ClassVar[str] = "no_context"
    retrieves: ClassVar[bool] = False

    def windows(self, request: Request) -> Retrieved:
        """None."""
        return Retrieved(())
