"""Knockout: a masked head cannot see the evidence; its other attention is renormalised.

The scores from every masked query to the evidence are cut before the softmax, so the rest keeps its
proportions. A query that sees nothing but evidence reads nothing.
"""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval_lens.ablation.modes.base import AblationMode


class Knockout(AblationMode):
    """No attention on the evidence."""

    name: ClassVar[str] = "knockout"
    edits_scores: ClassVar[bool] = True
    needs_evidence: ClassVar[bool] = True

    def scores(
        self,
        scores: Float[Tensor, "row head query_pos key_pos"],
        visible: Bool[Tensor, "row head query_pos key_pos"],
        evidence: Bool[Tensor, "_ 1 1 key_pos"],
    ) -> Float[Tensor, "row head query_pos key_pos"]:
        """The scores, without those of the evidence."""
        return scores.masked_fill(evidence, torch.finfo(scores.dtype).min)
