"""Mass-matched: for each head of D_t, the other head that looks at the evidence most alike."""

from dataclasses import dataclass, field
from typing import ClassVar

from retrieval_lens.heads.head import Head
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.step_heads import CleanStep, StepHeads
from retrieval_lens.scores import CopyPaste, StepScore


@dataclass(frozen=True, eq=False)
class MassMatched(StepHeads):
    """For each head of D_t the head outside it with the nearest attention mass on the evidence.

    Heads of D_t choose in order of mass, largest first; nobody is chosen twice; of equally near
    ones the lowest layer, then head.
    """

    score: StepScore = field(default_factory=CopyPaste)
    reads_masses: ClassVar[bool] = True

    def select(self, step: CleanStep) -> HeadSet:
        """The nearest heads outside D_t."""
        pool = [Head(*pair) for pair in (~step.active).nonzero().tolist()]
        masses = step.masses[step.active].sort(descending=True).values.tolist()
        chosen: list[Head] = []
        for mass in masses[: len(pool)]:
            nearest = min(pool, key=lambda head: abs(float(step.masses[head]) - mass))
            chosen.append(nearest)
            pool.remove(nearest)
        return HeadSet(chosen)
