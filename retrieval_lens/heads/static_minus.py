"""Static minus dynamic: S without D_t, the static heads that are idle at the step."""

from dataclasses import dataclass, field

from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.step_heads import CleanStep, StepHeads
from retrieval_lens.scores import CopyPaste, StepScore


@dataclass(frozen=True, eq=False)
class StaticMinus(StepHeads):
    """The heads of `static` that are not dynamic at the step."""

    static: HeadSet
    score: StepScore = field(default_factory=CopyPaste)

    def select(self, step: CleanStep) -> HeadSet:
        """S without D_t."""
        return self.static - step.dynamic
