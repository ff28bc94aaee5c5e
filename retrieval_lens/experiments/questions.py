"""Prompts of a set of multi-hop questions, for every grid that runs on one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, ClassVar

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.fields import several, whole_numbers
from retrieval_lens.experiments.grid import Grid, Place, require_lists
from retrieval_lens.files import digest
from retrieval_lens.tasks import RetrievalExample, hotpotqa
from retrieval_lens.tasks.multihop_prompt import ORDERS
from retrieval_lens.tasks.multihop_readers import Question


@dataclass(frozen=True, kw_only=True)
class QuestionPrompts(Grid):
    """The part of a grid that makes prompts of questions."""

    details: ClassVar[tuple[str, ...]] = ("question_id", "type", "depth", "n_tokens")
    axes: ClassVar[tuple[str, ...]] = (
        *("source", "n_paragraphs", "order", "max_tokens"),
        "question",
    )

    source: str = hotpotqa.OWN
    reader: str = "hotpotqa"
    questions: Any = tuple(range(20))
    n_paragraphs: Any = (10,)
    orders: Any = ("given",)
    max_tokens: Any = (None,)
    seed: int = 0

    def __post_init__(self) -> None:
        self._set("questions", whole_numbers("questions", self.questions))
        self._set("orders", several(self.orders))
        self._set("n_paragraphs", whole_numbers("n_paragraphs", self.n_paragraphs))
        self._set("max_tokens", _cuts(self.max_tokens))
        require_lists(self, ("questions", "n_paragraphs", "orders", "max_tokens"))
        for order in self.orders:
            if order not in ORDERS:
                raise UnknownNameError(f"no order {order!r}; known: {', '.join(ORDERS)}")
        if min(self.questions) < 0 or min(self.n_paragraphs) < 1:
            raise InputError(
                f"wanted questions >= 0 and n_paragraphs >= 1; got {self.questions} and "
                f"{self.n_paragraphs}"
            )
        super().__post_init__()

    def places_of(self, questions: Sequence[int]) -> list[Place]:
        """Every layout of these questions."""
        layouts = product(self.n_paragraphs, self.orders, self.max_tokens)
        found = ((self.source, *layout, one) for layout in layouts for one in questions)
        return [dict(zip(self.axes, values, strict=True)) for values in found]

    def example(self, tokenizer: Any, place: Place) -> RetrievalExample:
        """The question's prompt; see `Grid`.

        Raises:
            InputError: The file has no such question.
            InvalidExampleError: It cannot be used: its facts are not there, or cut off.
        """
        options = {name: place[name] for name in ("n_paragraphs", "order", "max_tokens")}
        options |= {"seed": self.seed, "dataset": self.dataset}
        return hotpotqa.load([self.question(place["question"])], tokenizer, **options)[0]

    def question(self, number: int) -> Question:
        """A question before it is a prompt.

        Raises:
            InputError: The file has no such question.
        """
        questions = self.every_question()
        if number >= len(questions):
            raise InputError(
                f"there is no question {number} in {self.source!r}: it has {len(questions)}, "
                f"counted from 0"
            )
        return questions[number]

    def require_ready(self) -> None:
        """Refuse questions that the file does not have; see `Grid`."""
        for number in (*self.questions, *getattr(self, "detection_questions", ())):
            self.question(number)

    def every_question(self) -> tuple[Question, ...]:
        """All questions of the source."""
        return _read(self.source, self.reader)

    def sources(self) -> dict[str, str]:
        """Fingerprint of all questions."""
        return {self.source: digest([str(one) for one in self.every_question()])}

    @property
    def is_own(self) -> bool:
        """Whether these are the questions that ship."""
        return self.source == hotpotqa.OWN

    @property
    def dataset(self) -> str:
        """What the names of its examples begin with."""
        return self.source if self.is_own else self.reader


def _cuts(value: Any) -> tuple[int | None, ...]:
    """Lengths, None among them where the context may stay whole."""
    lengths = [one for one in several(value) if one is not None]
    if min(whole_numbers("max_tokens", lengths), default=1) < 1:
        raise InputError(f"wanted max_tokens >= 1, or None; got {value}")
    found = tuple(None if one is None else one.__index__() for one in several(value))
    if None in found and len(found) > 1:
        raise InputError(
            f"max_tokens=None is no length beside others; got {found}: take one that is longer "
            f"than every context"
        )
    return found


@cache
def _read(source: str, reader: str) -> tuple[Question, ...]:
    return tuple(hotpotqa.read(source, reader))
