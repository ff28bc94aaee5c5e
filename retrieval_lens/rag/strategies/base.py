"""What a strategy is: it says which windows of the context to show when a draft had a hit.

A strategy of your own is one class with a `name` and `windows`, and one call of
`register_strategy`. Those that choose heads share `Request.by_heads`: the rows of the heads at the
last position are averaged, and `windows.reveal` does the rest (Algorithm 2 of arXiv 2602.11162).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from random import Random
from typing import Any, ClassVar, TypeVar

import torch

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.heads import HeadSet
from retrieval_lens.heads.random_sets import model_shape
from retrieval_lens.rag.context import PromptContext
from retrieval_lens.rag.reader import Look, Reader
from retrieval_lens.rag.settings import Settings
from retrieval_lens.rag.windows import Span, reveal


@dataclass(frozen=True)
class Retrieved:
    """What is shown, and why.

    Attributes:
        windows: Half-open spans of tokens of the prompt, inside the context.
        heads: The heads that were averaged; None where none were.
        positions: The most attended positions, largest first.
        clusters: The same, ascending, in groups of neighbours.
    """

    windows: tuple[Span, ...]
    heads: HeadSet | None = None
    positions: tuple[int, ...] = ()
    clusters: tuple[tuple[int, ...], ...] = ()

    @property
    def n_tokens(self) -> int:
        """How many tokens are shown."""
        return sum(end - start for start, end in self.windows)


@dataclass(frozen=True, eq=False)
class Request:
    """Where the answer stands when something is to be retrieved.

    Attributes:
        reader: The model's side.
        context: The prompt's side.
        generated: Token ids behind the prompt, the kept part of the draft included.
        round: Which round of the loop, from 0.
        seed: Of the answer.
        settings: Of the loop.
    """

    reader: Reader
    context: PromptContext
    generated: tuple[int, ...]
    round: int
    seed: int
    settings: Settings

    @property
    def question(self) -> str:
        """The question, "" if the example does not tell it apart."""
        return self.context.example.question

    @cached_property
    def text(self) -> str:
        """The generated text so far, special tokens removed."""
        return self.reader.tokenizer.decode(list(self.generated), skip_special_tokens=True)

    @cached_property
    def _looked(self) -> Look:
        return self.reader.look(self.generated)

    def look(self) -> Look:
        """Attention and hidden state of the last position; the model runs at the first call."""
        return self._looked

    def seed_of(self, *parts: Any) -> int:
        """A seed that depends on the answer's, the example and `parts`."""
        named = (self.seed, self.context.example.id, *parts)
        return Random(" ".join(map(str, named))).getrandbits(32)

    def by_heads(self, heads: HeadSet) -> Retrieved:
        """The windows around what these heads attend to at the last position.

        Raises:
            InputError: No head, or one that the model does not have.
        """
        rows = self.look().rows
        heads.require_within(*rows.shape[:2])
        if not len(heads):
            raise InputError("no head was chosen, so there is no attention to follow")
        weights = torch.stack([rows[layer, head] for layer, head in heads]).double().mean(0)
        s = self.settings
        found = reveal(weights, self.context.span, s.n_positions, s.gap, s.radius, s.centre)
        return Retrieved(found.windows, heads, found.positions, found.clusters)


class Strategy(ABC):
    """Base of all strategies; subclass it as a frozen dataclass and write `windows`.

    Attributes:
        name: Its name in results.
        retrieves: Whether drafts are judged and windows asked for.
        starts_visible: Whether the whole context is visible all the time.
    """

    name: ClassVar[str]
    retrieves: ClassVar[bool] = True
    starts_visible: ClassVar[bool] = False

    @property
    def hidden_at(self) -> tuple[str, ...]:
        """Hook names whose state a look must bring."""
        return ()

    @abstractmethod
    def windows(self, request: Request) -> Retrieved:
        """What to show now."""

    def require(self, model: Any, example: Any) -> None:
        """Refuse a model or an example that this strategy must not be used on; none by default."""
        return None

    def parameters(self) -> dict[str, Any]:
        """Name and parameters, JSON-able, for the record; by default the plain fields."""
        names = [one.name for one in fields(self)] if is_dataclass(self) else vars(self)
        values = {name: getattr(self, name) for name in names}
        plain = {k: v for k, v in values.items() if isinstance(v, str | int | float | None)}
        return {"name": self.name} | plain


STRATEGIES: dict[str, type[Strategy]] = {}
AnyStrategy = TypeVar("AnyStrategy", bound=type[Strategy])


def register_strategy(strategy: AnyStrategy) -> AnyStrategy:
    """Make a class of strategies available by its name; to be used as a decorator.

    Raises:
        InputError: The name is taken, or there is none.
    """
    name = getattr(strategy, "name", None)
    if not isinstance(name, str) or not name:
        raise InputError(f"a strategy needs a name, as a text; {strategy.__name__} has {name!r}")
    if name in STRATEGIES:
        raise InputError(f"there is a strategy {name!r} already; take another name")
    STRATEGIES[name] = strategy
    return strategy


def strategy_named(name: str) -> type[Strategy]:
    """The class registered under a name.

    Raises:
        UnknownNameError: There is none; the message lists the known names.

    Examples:
        >>> strategy_named("no_context").retrieves
        False
    """
    if name not in STRATEGIES:
        raise UnknownNameError(f"no strategy {name!r}; known: {', '.join(sorted(STRATEGIES))}")
    return STRATEGIES[name]


def require_count(k: int, model: Any) -> None:
    """Refuse more heads than a model has.

    Args:
        k: How many are wanted.
        model: A bridge, or its (layers, heads a layer).

    Raises:
        InputError: There are fewer.
    """
    n_layers, n_heads = model_shape(model)
    if k > n_layers * n_heads:
        raise InputError(f"k={k}, but the model has {n_layers * n_heads} heads; take fewer")


def hidden_at_of(strategies: Sequence[Strategy]) -> tuple[str, ...]:
    """Every hook name that one of the strategies needs, once."""
    return tuple(dict.fromkeys(name for one in strategies for name in one.hidden_at))
