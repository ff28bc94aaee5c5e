"""What strategies share that show as many tokens as another one."""

from dataclasses import dataclass
from typing import Any

from retrieval_lens.errors import InputError
from retrieval_lens.rag.strategies.base import Strategy


@dataclass(frozen=True)
class Matched(Strategy):
    """Base of strategies that are matched to another one.

    Args:
        like: Shows as many tokens, at the same place of the same answer. Whole answers need not be
            matched: each strategy retrieves as often as its own text asks for.

    Raises:
        InputError: `like` retrieves nothing.
    """

    like: Any

    def __post_init__(self) -> None:
        if not isinstance(self.like, Strategy) or not self.like.retrieves:
            raise InputError(
                f"like= is a strategy that retrieves, such as Dynamic(probe) or OracleDynamic(): "
                f"as many tokens as it shows are shown; got {self.like!r}"
            )

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

    def parameters(self) -> dict[str, Any]:
        """See `Strategy`."""
        return super().parameters() | {"like": self.like.parameters()}
