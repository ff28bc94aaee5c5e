"""Static by count: as many static heads as are dynamic at the step (the primary contrast)."""

from dataclasses import dataclass, field

from retrieval_lens.errors import InputError
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.step_heads import CleanStep, StepHeads
from retrieval_lens.scores import CopyPaste, StepScore


@dataclass(frozen=True, eq=False)
class StaticByCount(StepHeads):
    """The first |D_t| heads of a static ranking.

    Args:
        static: The ranking; rank all heads (`static_heads(traces, k=None)`) so that it is never
            too short.
        score: By which D_t is counted.
    """

    static: HeadSet
    score: StepScore = field(default_factory=CopyPaste)

    def select(self, step: CleanStep) -> HeadSet:
        """The top |D_t|.

        Raises:
            InputError: More heads are active than are ranked.
        """
        count = int(step.active.sum())
        if count > len(self.static):
            raise InputError(
                f"step {step.index} has {count} dynamic heads but only {len(self.static)} are "
                f"ranked; pass static_heads(traces, k=None)"
            )
        return self.static.top(count)
