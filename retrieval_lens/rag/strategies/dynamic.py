"""Dynamic: the heads that a probe predicts from the hidden state of this very position."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from retrieval_lens.analysis.probes import Probe
from retrieval_lens.analysis.trajectories import Trajectory
from retrieval_lens.errors import InputError
from retrieval_lens.heads import HeadSet
from retrieval_lens.rag.checks import whole
from retrieval_lens.rag.strategies.base import (
    Request,
    Retrieved,
    Strategy,
    register_strategy,
    require_count,
)
from retrieval_lens.tasks import RetrievalExample


@register_strategy
@dataclass(frozen=True)
class Dynamic(Strategy):
    """The `k` heads of largest predicted score.

    Args:
        probe: A regressor, from `train_probe(traces, kind="regressor", score="reasoning")`.
        k: How many heads.
        allow_overlap: Whether to answer examples that the probe was made on.

    Raises:
        InputError: No probe, a classifier, one of scores some steps later (`offset`), one that does
            not know its hook, or `k` out of range.
    """

    probe: Any
    k: Any = 5
    allow_overlap: bool = False
    name: ClassVar[str] = "dynamic"

    def __post_init__(self) -> None:
        if not isinstance(self.probe, Probe):
            raise InputError(f"Dynamic wants a probe of train_probe; got {self.probe!r}")
        if self.probe.settings.classifies:
            raise InputError(
                "Dynamic ranks heads by their predicted score, and this probe is a classifier; "
                'train one with kind="regressor"'
            )
        if self.probe.settings.offset:
            raise InputError(
                f"Dynamic reads the heads of this very position, and this probe predicts those "
                f"{self.probe.settings.offset} steps later; train one with offset=0"
            )
        if not self.probe.provenance.get("hidden_at"):
            raise InputError(
                "this probe does not say which hidden state it reads; train it on traces, or on "
                "trajectories with meta['hidden_at']"
            )
        object.__setattr__(self, "k", whole("k", self.k, 1))
        require_count(self.k, self.probe.shape)

    @property
    def hidden_at(self) -> tuple[str, ...]:
        """The hook that the probe was trained on."""
        return (self.probe.provenance["hidden_at"],)

    def require(self, model: Any, example: Any) -> None:
        """Refuse another model than the probe's, and examples that it was made on.

        Raises:
            InputError: With what differs.
        """
        self.probe.require_model(model)
        if not self.allow_overlap:
            self.probe.require_unseen([_stand_in(example)])

    def windows(self, request: Request) -> Retrieved:
        """By the probe's heads at this position."""
        found = self.probe.top_heads(request.look().hidden[self.hidden_at[0]], self.k)
        return request.by_heads(_one(found))

    def parameters(self) -> dict[str, Any]:
        """See `Strategy`."""
        made = self.probe.provenance
        about = {name: made.get(name) for name in ("model", "score", "hidden_at")}
        offset, n_seen = self.probe.settings.offset, len(self.probe.seen_ids)
        probe = about | {"offset": offset, "n_examples": n_seen}
        return super().parameters() | {"probe": probe}


def _one(found: HeadSet | Sequence[HeadSet]) -> HeadSet:
    return found if isinstance(found, HeadSet) else found[0]


def _stand_in(example: RetrievalExample) -> Trajectory:
    """One empty step, so that ids and groups are compared by the probe's own rule."""
    return Trajectory(
        hidden=torch.zeros(1, 1),
        scores=torch.zeros(1, 1, 1),
        active=torch.zeros(1, 1, 1, dtype=torch.bool),
        inputs=torch.zeros(1, dtype=torch.long),
        tokens=torch.zeros(1, dtype=torch.long),
        example_id=example.id,
        meta={"answer": example.answer, **example.meta},
    )
