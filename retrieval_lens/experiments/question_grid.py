"""Multi-hop questions over length of the context x place of the facts (Sec. 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from retrieval_lens.errors import InputError
from retrieval_lens.experiments.ablation_grid import AblationGrid
from retrieval_lens.experiments.fields import whole_numbers
from retrieval_lens.experiments.grid import Place, register_grid
from retrieval_lens.experiments.questions import QuestionPrompts


@register_grid
@dataclass(frozen=True, kw_only=True)
class QuestionGrid(QuestionPrompts, AblationGrid):
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

    Examples:
        >>> grid = QuestionGrid(questions=range(4), detection_questions=[4, 5], n_paragraphs=4)
        >>> len(grid.places(detection=False)), len(grid.places(detection=True))
        (4, 2)
    """

    task: ClassVar[str] = "questions"
    metrics: ClassVar[tuple[str, ...]] = ("em", "f1", "truncated")
    replicate: ClassVar[str] = "question"

    score: str = "reasoning"
    max_new_tokens: Any = 32
    detection_questions: Any = (38, 39, 40, 41, 43, 44, 46, 47, 49, 50)  # share no fact with 0-19

    def __post_init__(self) -> None:
        detection = whole_numbers("detection_questions", self.detection_questions)
        self._set("detection_questions", detection)
        super().__post_init__()
        if min(detection, default=0) < 0:
            raise InputError(f"wanted detection_questions >= 0; got {detection}")
        shared = sorted(set(self.questions) & set(detection))
        if shared:
            raise InputError(
                f"questions {shared} are both in questions and in detection_questions: static "
                f"heads would be judged on questions that they were chosen on"
            )

    def places(self, detection: bool) -> Sequence[Place]:
        """Every combination; see `AblationGrid`."""
        return self.places_of(self.detection_questions if detection else self.questions)

    def shared_start(self, place: Place) -> None:
        """None: the contexts of two questions have nothing in common."""

    def reference_places(self) -> Sequence[Place]:
        """The detection questions in the first layout."""
        first = {"n_paragraphs": self.n_paragraphs[0], "order": self.orders[0]}
        first["max_tokens"] = self.max_tokens[0]
        return [place for place in self.places(detection=True) if place | first == place]

    @property
    def has_corpus(self) -> bool:
        """Whether there are detection questions."""
        return bool(self.detection_questions)
