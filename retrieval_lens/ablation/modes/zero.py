"""Zero: a masked head reads nothing, `hook_z` = 0."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval_lens.ablation.modes.base import AblationMode


class Zero(AblationMode):
    """`hook_z` = 0."""

    name: ClassVar[str] = "zero"

    def z(
        self, layer: int, z: Float[Tensor, "row query_pos head d_head"]
    ) -> Float[Tensor, "row query_pos head d_head"]:
        """Zeros."""
        return torch.zeros_like(z)
