"""Uniform: a masked head attends to every visible key alike (what Wu et al.'s code does)."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval_lens.ablation.modes.base import AblationMode


class Uniform(AblationMode):
    """Equal scores on all visible keys."""

    name: ClassVar[str] = "uniform"
    edits_scores: ClassVar[bool] = True

    def scores(
        self,
        scores: Float[Tensor, "row head query_pos key_pos"],
        visible: Bool[Tensor, "row head query_pos key_pos"],
        evidence: Bool[Tensor, "_ 1 1 key_pos"],
    ) -> Float[Tensor, "row head query_pos key_pos"]:
        """0 where visible."""
        return torch.where(visible, 0.0, torch.finfo(scores.dtype).min).to(scores.dtype)
