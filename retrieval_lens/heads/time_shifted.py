"""Time-shifted: the dynamic heads of another retrieval step of the same response."""

from dataclasses import dataclass, field
from typing import ClassVar

from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.step_heads import CleanStep, StepHeads
from retrieval_lens.scores import CopyPaste, StepScore


@dataclass(frozen=True, eq=False)
class TimeShifted(StepHeads):
    """At a non-empty step of the clean trace, the set of the non-empty step `shift` places before.

    Places are counted circularly over the non-empty steps, so that set sizes are those of the
    dynamic condition in another order; steps whose clean set is empty, and steps beyond the clean
    response, mask nothing. A shift that would come round to the step itself is one more, and a
    response with a single non-empty step has no other to offer: nothing is masked.
    """

    shift: int = 4
    score: StepScore = field(default_factory=CopyPaste)
    reads_step: ClassVar[bool] = False
    reads_trace: ClassVar[bool] = True

    def select(self, step: CleanStep) -> HeadSet:
        """D of the step `shift` non-empty steps ago."""
        assert step.trace is not None
        active = step.trace.active(self.score)
        full = active.flatten(1).any(1).nonzero().flatten().tolist()
        if step.index not in full:
            return HeadSet()
        shift = self.shift if self.shift % len(full) else self.shift + 1
        if shift % len(full) == 0:
            return HeadSet()
        return HeadSet.from_mask(active[full[(full.index(step.index) - shift) % len(full)]])
