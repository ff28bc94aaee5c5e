"""Gold spans: exactly the evidence, the most that windows can find once something is retrieved."""

from dataclasses import dataclass
from typing import ClassVar

from retrieval_lens.rag.strategies.base import Request, Retrieved, Strategy, register_strategy


@register_strategy
@dataclass(frozen=True)
class GoldSpans(Strategy):
    """The tokens of the evidence, whatever the answer so far."""

    name: ClassVar[str] = "gold_spans"

    def windows(self, request: Request) -> Retrieved:
        """The evidence."""
        return Retrieved(request.context.evidence_spans)
