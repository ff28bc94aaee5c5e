"""Layer-matched random: for each head of D_t, another head of the same layer."""

from dataclasses import dataclass, field

from retrieval_lens.heads.head import Head
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.step_heads import CleanStep, StepHeads
from retrieval_lens.scores import CopyPaste, StepScore


@dataclass(frozen=True, eq=False)
class LayerMatched(StepHeads):
    """As many random heads in each layer as D_t has there, none of D_t itself.

    The draw depends on seed, example and step alone. A layer with more dynamic heads than others
    gives the others it has, so that fewer heads may be masked than are dynamic.
    """

    seed: int = 0
    score: StepScore = field(default_factory=CopyPaste)

    def select(self, step: CleanStep) -> HeadSet:
        """Random heads of the layers of D_t."""
        random = step.random(self.seed)
        heads: list[Head] = []
        for layer, row in enumerate(step.active):
            others = (~row).nonzero().flatten().tolist()
            drawn = random.sample(others, min(int(row.sum()), len(others)))
            heads += [Head(layer, head) for head in sorted(drawn)]
        return HeadSet(heads)
