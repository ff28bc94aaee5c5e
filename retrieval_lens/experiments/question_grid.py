"""Multi-hop questions over length of the context x place of the facts (Sec. 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, ClassVar

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.fields import several, whole_numbers
from retrieval_lens.experiments.grid import (
    Grid,
    Place,
    register_grid,
    require_lists,
)
from retrieval_lens.files import digest
from retrieval_lens.tasks import RetrievalExample, hotpotqa
from retrieval_lens.tasks.multihop_prompt import ORDERS
from retrieval_lens.tasks.multihop_readers import Question


@register_grid
@dataclass(frozen=True, kw_only=True)
class QuestionGrid(Grid):
    """Questions of a set: every combination of model, number of paragraphs, order and question.

    What it shares with other grids (models, conditions, measures, ...) is described at
    `NeedleGrid`; heads are dynamic by the reasoning score unless `score` says otherwise.

    Args:
        source: `"own"`, the set that ships, or a file.
        reader: Format of the file, as in `tasks.hotpotqa.load`.
        questions: Which, counted from 0 in the order of the file.
        detection_questions: Of the detection corpus, none of them in `questions`; empty for none.
        n_paragraphs: Paragraphs of the context, the gold ones among them.
        orders: Of the paragraphs: given, shuffled, facts_first, facts_middle, facts_last.
        max_tokens: The context is cut to so many tokens; None leaves it whole. A question that
            loses a fact is invalid: it is not run, and has rows with `valid` False.
        seed: Draws the distractors and shuffles.

    Raises:
        InputError: A value out of range, twice, or questions that detection and grid share.
        UnknownNameError: No such order, condition, measure ...; the known ones are listed.

    Example:
        >>> grid = QuestionGrid(questions=range(4), detection_questions=[4, 5], n_paragraphs=4)
        >>> len(grid.places(detection=False)), len(grid.places(detection=True))
        (4, 2)
    """

    task: ClassVar[str] = "questions"
    metrics: ClassVar[tuple[str, ...]] = ("em", "f1", "truncated")
    details: ClassVar[tuple[str, ...]] = ("question_id", "type", "depth", "n_tokens")
    axes: ClassVar[tuple[str, ...]] = (
        *("source", "n_paragraphs", "order", "max_tokens"),
        "question",
    )
    replicate: ClassVar[str] = "question"

    score: str = "reasoning"
    max_new_tokens: Any = 32
    source: str = hotpotqa.OWN
    reader: str = "hotpotqa"
    questions: Any = tuple(range(20))
    detection_questions: Any = tuple(range(40, 50))
    n_paragraphs: Any = (10,)
    orders: Any = ("given",)
    max_tokens: Any = (None,)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("questions", "detection_questions"):
            self._set(name, whole_numbers(name, getattr(self, name)))
        self._set("orders", several(self.orders))
        self._set("n_paragraphs", whole_numbers("n_paragraphs", self.n_paragraphs))
        self._set("max_tokens", _cuts(self.max_tokens))
        require_lists(self, ("questions", "n_paragraphs", "orders", "max_tokens"))
        for order in self.orders:
            if order not in ORDERS:
                raise UnknownNameError(f"no order {order!r}; known: {', '.join(ORDERS)}")
        if min(self.questions + self.detection_questions) < 0 or min(self.n_paragraphs) < 1:
            raise InputError(
                f"wanted questions >= 0 and n_paragraphs >= 1; got {self.questions} and "
                f"{self.n_paragraphs}"
            )
        shared = sorted(set(self.questions) & set(self.detection_questions))
        if shared:
            raise InputError(
                f"questions {shared} are both in questions and in detection_questions: static "
                f"heads would be judged on questions that they were chosen on"
            )
        super().__post_init__()

    def places(self, detection: bool) -> Sequence[Place]:
        """Every combination; see `Grid`."""
        chosen = self.detection_questions if detection else self.questions
        layouts = product(self.n_paragraphs, self.orders, self.max_tokens)
        found = ((self.source, *layout, one) for layout in layouts for one in chosen)
        return [dict(zip(self.axes, values, strict=True)) for values in found]

    def example(self, tokenizer: Any, place: Place) -> RetrievalExample:
        """The question's prompt; see `Grid`.

        Raises:
            InputError: The file has no such question.
            InvalidExampleError: It cannot be used: its facts are not there, or cut off.
        """
        questions = _read(self.source, self.reader)
        if place["question"] >= len(questions):
            raise InputError(
                f"there is no question {place['question']} in {self.source!r}: it has "
                f"{len(questions)}, counted from 0"
            )
        options = {name: place[name] for name in ("n_paragraphs", "order", "max_tokens")}
        options |= {"seed": self.seed, "dataset": self.source if self.is_own else self.reader}
        return hotpotqa.load([questions[place["question"]]], tokenizer, **options)[0]

    def shared_start(self, place: Place) -> None:
        """None: the contexts of two questions have nothing in common."""

    def reference_places(self) -> Sequence[Place]:
        """The detection questions in the first layout."""
        first = {"n_paragraphs": self.n_paragraphs[0], "order": self.orders[0]}
        first["max_tokens"] = self.max_tokens[0]
        return [place for place in self.places(detection=True) if place | first == place]

    def sources(self) -> dict[str, str]:
        """Fingerprint of all questions."""
        return {self.source: digest([str(one) for one in _read(self.source, self.reader)])}

    @property
    def is_own(self) -> bool:
        """Whether these are the questions that ship."""
        return self.source == hotpotqa.OWN

    @property
    def has_corpus(self) -> bool:
        """Whether there are detection questions."""
        return bool(self.detection_questions)


def _cuts(value: Any) -> tuple[int | None, ...]:
    """Lengths, None among them where the context may stay whole."""
    lengths = [one for one in several(value) if one is not None]
    if min(whole_numbers("max_tokens", lengths), default=1) < 1:
        raise InputError(f"wanted max_tokens >= 1, or None; got {value}")
    return tuple(None if one is None else one.__index__() for one in several(value))


@cache
def _read(source: str, reader: str) -> tuple[Question, ...]:
    return tuple(hotpotqa.read(source, reader))
