"""What may change attention while it runs, in both engines alike.

1. Before the softmax: the scores of each query, as at TransformerLens' `hook_attn_scores`.
2. After it: what each head read, as at `hook_z`.

The fast engine calls an edit from its attention function; `edit_hooks` makes the same edit a list
of hooks for the bridge.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from retrieval_lens.models import hook_names


@runtime_checkable
class AttentionEdit(Protocol):
    """Changes scores and outputs of some heads in some layers; the others are left alone."""

    @property
    def layers(self) -> Collection[int]:
        """The layers that it touches, as blocks."""
        ...

    @property
    def edits_scores(self) -> bool:
        """Whether it changes scores."""
        ...

    def scores(
        self, layer: int, scores: Float[Tensor, "row head query_pos key_pos"]
    ) -> Float[Tensor, "row head query_pos key_pos"]:
        """Scores after masking, before the softmax; invisible keys are at the dtype's minimum."""
        ...

    def z(
        self, layer: int, z: Float[Tensor, "row query_pos head d_head"]
    ) -> Float[Tensor, "row query_pos head d_head"]:
        """What each head read, before the output projection."""
        ...


def edit_hooks(edit: AttentionEdit) -> list[tuple[str, Any]]:
    """Forward hooks that do the edit on a bridge."""
    hooks: list[tuple[str, Any]] = []
    for layer in edit.layers:
        if edit.edits_scores:
            hooks.append((hook_names.attn_scores(layer), _caller(edit.scores, layer)))
        hooks.append((hook_names.z(layer), _caller(edit.z, layer)))
    return hooks


def _caller(function: Any, layer: int) -> Any:
    """A hook that closes over its layer: inside a hook at z the name is another one."""

    def call(value: Tensor, hook: Any) -> Tensor:
        return function(layer, value)

    return call


def n_untouched(layers: Sequence[int], edit: AttentionEdit, n_blocks: int) -> int:
    """How many blocks come before the first layer that the edit touches."""
    return min((layer for layer in layers if layer in edit.layers), default=n_blocks)
