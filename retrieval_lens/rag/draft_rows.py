"""Attention of the last layer within a text that is run alone, in one pass."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval_lens.models import attention_layers, clear_kept_patterns, hook_names
from retrieval_lens.tracing.fast_attention import listening
from retrieval_lens.tracing.twin import twin_of


class LayerRows:
    """Reads the rows of one layer; for the fast engine it looks like an edit.

    Args:
        layer: Which.
    """

    edits_scores = True

    def __init__(self, layer: int):
        self.layers: list[int] = [layer]
        self.parts: list[Tensor] = []

    def scores(
        self, layer: int, scores: Float[Tensor, "1 head query_pos key_pos"]
    ) -> Float[Tensor, "1 head query_pos key_pos"]:
        """Read the rows that these scores become; change nothing."""
        self.parts.append(scores.softmax(-1)[0].float().cpu())
        return scores

    def z(
        self, layer: int, z: Float[Tensor, "1 query_pos head d_head"]
    ) -> Float[Tensor, "1 query_pos head d_head"]:
        """Change nothing."""
        return z

    def hook(self, pattern: Tensor, hook: Any) -> None:
        """Read what the bridge shows at `hook_pattern`."""
        self.parts.append(pattern[0].float().cpu())


@torch.inference_mode()
def isolated_rows(
    model: Any, tokens: Sequence[int], engine: str
) -> Float[Tensor, "head token token"]:
    """Rows `[head, token, token]` of the last attention layer, float32 on the CPU.

    Args:
        model: A bridge.
        tokens: The text, run from position 0 and without a beginning-of-sequence token.
        engine: `"fast"` or `"hooks"`, as `choose_engine` gave it.
    """
    read = LayerRows(attention_layers(model)[-1])
    ids = torch.tensor([list(tokens)])
    if engine == "fast":
        twin = twin_of(model)
        with listening(None, read):
            twin(ids.to(next(twin.parameters()).device), use_cache=False, logits_to_keep=1)
    else:
        device = next(model.original_model.parameters()).device
        with model.hooks(fwd_hooks=[(hook_names.pattern(read.layers[0]), read.hook)]):
            model(ids.to(device), return_type="logits", logits_to_keep=1)
        clear_kept_patterns(model)
    return torch.cat(read.parts, dim=1)  # the fast engine sends long drafts in parts
