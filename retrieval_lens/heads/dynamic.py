"""Dynamic heads D_t: the heads that retrieve at step t (Sec. 3.2), all or the k strongest."""

from dataclasses import dataclass, field
from typing import SupportsIndex

from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.step_heads import CleanStep, StepHeads, rank_keys, strongest
from retrieval_lens.scores import CopyPaste, StepScore
from retrieval_lens.tracing import Trace


@dataclass(frozen=True, eq=False)
class Dynamic(StepHeads):
    """The step's own heads: D_t, or its `k` strongest (Fig. 3).

    Strongest are those with the largest attention at the most attended position (with a score
    that is not 0 or 1, the largest score); ties go to the head that comes first in `ties`, then by
    layer and head. Where |D_t| < k all of D_t is taken.

    Args:
        k: How many heads at most; None takes all.
        score: By which heads are active.
        ties: A static ranking.

    Raises:
        InputError: `k` is negative.
    """

    k: int | None = None
    score: StepScore = field(default_factory=CopyPaste)
    ties: HeadSet | None = None

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 0:
            raise InputError(f"k must not be negative; got {self.k}")

    def select(self, step: CleanStep) -> HeadSet:
        """D_t or its strongest heads."""
        if self.k is None:
            return step.dynamic
        first = step.weights if isinstance(self.score, CopyPaste) else step.scores
        return strongest(step.active, [first, *rank_keys(self.ties, first)], self.k)


def dynamic_heads(
    trace: Trace, score: str | StepScore = "copy_paste", k: SupportsIndex | None = None
) -> list[HeadSet]:
    """D_t of every step of a trace, highest score first, as `Dynamic` orders them.

    Equal scores, as those of Eq. 1 are, go by the attention at the most attended position, then by
    layer and head.

    These sets belong to their example by definition, so they carry no example ids to be refused.

    Args:
        trace: The trace.
        score: Name of a traced score, or a score that observes what was traced.
        k: At most so many, the first in this order.

    Raises:
        UnknownNameError: No such score in the trace.
        InputError: `k` is negative.

    Examples:
        ```python
        [len(heads) for heads in rl.dynamic_heads(trace)]
        ```
    """
    active, scores = trace.active(score), trace.scored(score)
    most = active[0].numel() if k is None else k.__index__()
    if most < 0:
        raise InputError(f"k must not be negative; got {most}")
    name = score if isinstance(score, str) else score.name
    made = {"detector": f"active by {name}", "example": trace.provenance["example"]["id"]}
    weights = trace.top_weights[..., 0] if trace.top_weights.shape[-1] else scores

    def keys(t: int) -> list[Tensor]:
        return [scores[t], weights[t]]

    return [
        HeadSet(strongest(active[t], keys(t), most), provenance={**made, "step": t})
        for t in range(trace.n_steps)
    ]
