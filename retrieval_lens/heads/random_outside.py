"""Random outside: as many heads as are dynamic, drawn from those that are neither D_t nor S."""

from dataclasses import dataclass, field

from retrieval_lens.heads.head import Head
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.step_heads import CleanStep, StepHeads
from retrieval_lens.scores import CopyPaste, StepScore


@dataclass(frozen=True, eq=False)
class RandomOutside(StepHeads):
    """|D_t| random heads outside D_t and `static`, drawn anew at every step.

    The draw depends on seed, example and step alone. Where fewer heads are left, all are taken.
    """

    static: HeadSet = field(default_factory=HeadSet)
    seed: int = 0
    score: StepScore = field(default_factory=CopyPaste)

    def select(self, step: CleanStep) -> HeadSet:
        """Random heads outside both sets."""
        pool = [Head(*pair) for pair in (~step.active).nonzero().tolist()]
        pool = [head for head in pool if head not in self.static]
        count = min(int(step.active.sum()), len(pool))
        return HeadSet(step.random(self.seed).sample(pool, count))
