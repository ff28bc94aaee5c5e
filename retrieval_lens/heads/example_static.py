"""Per-example static: the heads of largest mean score over the example's own clean steps."""

from dataclasses import dataclass, field
from typing import ClassVar

from retrieval_lens.errors import InputError
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.static import static_heads
from retrieval_lens.heads.step_heads import CleanStep, StepHeads
from retrieval_lens.scores import CopyPaste, StepScore


@dataclass(frozen=True, eq=False)
class ExampleStatic(StepHeads):
    """The example's own top `k`, the same at every step.

    It looks at the example that it is judged on: a control that is static in time and yet as well
    informed as the dynamic set, not a static list.

    Raises:
        InputError: `k` is negative.
    """

    k: int = 20
    score: StepScore = field(default_factory=CopyPaste)
    reads_step: ClassVar[bool] = False
    reads_trace: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 0:
            raise InputError(f"k must not be negative; got {self.k}")

    def select(self, step: CleanStep) -> HeadSet:
        """The top `k` of the clean trace."""
        assert step.trace is not None
        return HeadSet(static_heads([step.trace], max(self.k, 1), self.score).heads[: self.k])
