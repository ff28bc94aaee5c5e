"""A step score as a detector: its mean over all steps of all examples.

With copy-paste this is how the paper ranks its static heads (arXiv 2602.11162, Sec. 3.2), and it
equals `static_heads`: steps are pooled, so that a longer response weighs more, and no example is
left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from retrieval_lens.detectors.base import Contribution, TraceDetector
from retrieval_lens.errors import InputError
from retrieval_lens.scores import CopyPaste, StepScore
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing import Trace


@final
@dataclass(frozen=True)
class ScoreMean(TraceDetector):
    """Mean of a step score.

    Args:
        score: The step score.
        threshold: A head is counted in the share where its mean is at least this.
        name: In results; by default it names the score.

    Raises:
        InputError: `score` is no step score, or the threshold is not above 0.
    """

    score: Any = field(default_factory=CopyPaste)
    threshold: float | int = 0.1
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.score, StepScore):
            raise InputError(f"score is an object such as CopyPaste(), not {self.score!r}")
        if not 0 < self.threshold < float("inf"):
            raise InputError(f"threshold must be above 0; got {self.threshold}")
        if not self.name:
            object.__setattr__(self, "name", f"mean {self.score.name} over steps")

    def step_scores(self) -> Sequence[StepScore]:
        """The score itself."""
        return (self.score,)

    def contribution(self, trace: Trace, example: RetrievalExample) -> Contribution:
        """The sum over steps, and the number of steps."""
        return Contribution(trace.rescore(self.score).double().sum(0), trace.n_steps, {})
