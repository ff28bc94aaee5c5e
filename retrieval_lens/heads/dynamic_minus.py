"""Dynamic minus static: D_t without S, the heads that only the step itself reveals."""

from dataclasses import dataclass, field

from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.step_heads import CleanStep, StepHeads
from retrieval_lens.scores import CopyPaste, StepScore


@dataclass(frozen=True, eq=False)
class DynamicMinus(StepHeads):
    """The dynamic heads of the step that are not in `static`."""

    static: HeadSet
    score: StepScore = field(default_factory=CopyPaste)

    def select(self, step: CleanStep) -> HeadSet:
        """D_t without S."""
        return step.dynamic - self.static
