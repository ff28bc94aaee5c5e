"""A mode applied to chosen heads: the edit that both engines run."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval_lens.ablation.modes import AblationMode

FirstKey = Callable[[int], Int[Tensor, " _"]]


class HeadEdit:
    """Changes the masked heads of each row, and nothing else.

    Args:
        mode: What a masked head reads instead.
        mask: `[row, layer, head]`; one row stands for a batch of any size.
        blocks: The block of each attention layer.
        evidence: Evidence positions of each row; empty where there is none.
        first_key: Position of the first of n keys in each row; by default the first token.
    """

    def __init__(
        self,
        mode: AblationMode,
        mask: Bool[Tensor, "row layer head"],
        blocks: Sequence[int],
        evidence: Sequence[Int[Tensor, " _"]] = (),
        first_key: FirstKey | None = None,
    ):
        self.mode: AblationMode = mode
        self.evidence: list[Int[Tensor, " _"]] = list(evidence)
        self.first_key: FirstKey | None = first_key
        self.edits_scores: bool = mode.edits_scores
        touched = mask.any(2).any(0).tolist()
        self.layers: dict[int, int] = {
            block: i for i, (block, yes) in enumerate(zip(blocks, touched, strict=True)) if yes
        }
        self.masks: dict[int, Bool[Tensor, "row head"]] = {
            block: mask[:, i] for block, i in self.layers.items()
        }
        self.blind: dict[int, Bool[Tensor, "row query_pos head 1"]] = {}

    def scores(
        self, layer: int, scores: Float[Tensor, "row head query_pos key_pos"]
    ) -> Float[Tensor, "row head query_pos key_pos"]:
        """Scores of masked heads as the mode has them."""
        floor = torch.finfo(scores.dtype).min
        visible = scores > floor / 2
        evidence = self._evidence(scores.shape[-1], scores.device)
        edited = self.mode.scores(scores, visible, evidence)
        mask = self.masks[layer].to(scores.device)[:, :, None, None]
        sees = (visible & (edited > floor / 2)).any(-1, keepdim=True)
        self.blind[layer] = (mask & ~sees).transpose(1, 2)
        return torch.where(mask, edited, scores)

    def z(
        self, layer: int, z: Float[Tensor, "row query_pos head d_head"]
    ) -> Float[Tensor, "row query_pos head d_head"]:
        """What masked heads read as the mode has it; 0 where the mode left no key to see."""
        if self.edits_scores:
            return z.masked_fill(self.blind.pop(layer), 0)
        mask = self.masks[layer].to(z.device)[:, None, :, None]
        return torch.where(mask, self.mode.z(self.layers[layer], z), z)

    def _evidence(self, n_keys: int, device: torch.device) -> Bool[Tensor, "_ 1 1 key_pos"]:
        found = torch.zeros(max(len(self.evidence), 1), 1, 1, n_keys, dtype=torch.bool)
        first = self.first_key(n_keys) if self.first_key else torch.zeros(len(found)).long()
        for row, (positions, start) in enumerate(zip(self.evidence, first.tolist(), strict=False)):
            keys = positions - start
            found[row, 0, 0, keys[(keys >= 0) & (keys < n_keys)]] = True
        return found.to(device)
