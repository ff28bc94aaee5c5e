"""What a mode of ablation is: what a masked head reads instead.

A mode changes either the scores before the softmax, or what the head read after it. It sees whole
tensors and changes them all; which heads of which rows take the change is not its concern.
"""

from abc import ABC
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor


class AblationMode(ABC):
    """Base of all modes; override `scores` (and set `edits_scores`) or `z`.

    Attributes:
        name: Its name.
        edits_scores: Whether it changes the scores before the softmax.
        needs_evidence: Whether it must know where the evidence is.
        example_ids: Examples that it was fitted on, on which it must not be judged.
    """

    name: ClassVar[str]
    edits_scores: ClassVar[bool] = False
    needs_evidence: ClassVar[bool] = False
    example_ids: tuple[str, ...] = ()

    def scores(
        self,
        scores: Float[Tensor, "row head query_pos key_pos"],
        visible: Bool[Tensor, "row head query_pos key_pos"],
        evidence: Bool[Tensor, "_ 1 1 key_pos"],
    ) -> Float[Tensor, "row head query_pos key_pos"]:
        """Scores of masked heads; a key at the dtype's minimum gets no attention."""
        return scores

    def z(
        self, layer: int, z: Float[Tensor, "row query_pos head d_head"]
    ) -> Float[Tensor, "row query_pos head d_head"]:
        """What masked heads read; `layer` counts the layers with attention."""
        return z

    def parameters(self) -> dict[str, Any]:
        """Name and parameters, JSON-able, for the record."""
        return {"mode": self.name, "example_ids": list(self.example_ids)}
