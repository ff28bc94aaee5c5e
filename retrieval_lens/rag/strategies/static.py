"""Static: the same heads at every retrieval, from a ranking of other examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from retrieval_lens.errors import InputError
from retrieval_lens.heads import HeadSet
from retrieval_lens.heads.random_sets import model_shape
from retrieval_lens.models import model_info
from retrieval_lens.rag.checks import whole
from retrieval_lens.rag.strategies.base import Request, Retrieved, Strategy, register_strategy

SAME = ("name", "revision", "weights_sha256", "n_layers", "n_heads")


@register_strategy
@dataclass(frozen=True)
class Static(Strategy):
    """The first `k` heads of a ranking.

    Args:
        heads: The ranking, such as `static_heads(traces, k=None, score="reasoning")`.
        k: How many heads.
        allow_overlap: Whether to answer examples that the ranking was made on.

    Raises:
        InputError: No head set, or fewer than `k` heads in it.
    """

    heads: Any
    k: Any = 5
    allow_overlap: bool = False
    name: ClassVar[str] = "static"

    def __post_init__(self) -> None:
        if not isinstance(self.heads, HeadSet):
            raise InputError(f"Static wants a HeadSet, strongest first; got {self.heads!r}")
        object.__setattr__(self, "k", whole("k", self.k, 1))
        if self.k > len(self.heads):
            raise InputError(f"k={self.k}, but the ranking has {len(self.heads)} heads")

    def require(self, model: Any, example: Any) -> None:
        """Refuse heads of another model, and examples that they were chosen on.

        Raises:
            InputError: With what differs.
        """
        self.heads.require_within(*model_shape(model))
        made = self.heads.provenance.get("model")
        info = model_info(model)
        for name in SAME if isinstance(made, Mapping) else ():
            theirs, ours = made.get(name), info[name]
            if None not in (theirs, ours) and theirs != ours:
                raise InputError(
                    f"these heads are of a model with {name} {theirs!r}, but this one has "
                    f"{ours!r}; rank the heads of this model"
                )
        if not self.allow_overlap:
            self.heads.require_unseen([example.id])

    def windows(self, request: Request) -> Retrieved:
        """By the same heads every time."""
        return request.by_heads(self.heads.top(self.k))

    def parameters(self) -> dict[str, Any]:
        """See `Strategy`."""
        return super().parameters() | {"heads": self.heads.top(self.k).as_json()}
