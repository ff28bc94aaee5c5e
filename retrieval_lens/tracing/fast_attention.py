"""The attention function of the fast engine, registered with transformers under its own name.

1. More than one query (prefill): transformers' own sdpa, which never builds an n x n pattern.
2. One query (a decode step): one product of the query row with the keys, the query heads grouped
   by key-value head so that keys and values are never repeated; softmax in float32; the row goes
   to the listener of the moment; output = row x values.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval_lens.errors import UnsupportedModelError

NAME = "retrieval_lens"
UNKNOWN = frozenset({"softcap", "s_aux", "sinks", "position_bias"})  # each changes the softmax
RowListener = Callable[[int, Float[Tensor, "row head key_pos"]], None]
_LISTENER: ContextVar[RowListener | None] = ContextVar("retrieval_lens_listener", default=None)


@contextmanager
def listening(listener: RowListener) -> Iterator[None]:
    """Send every decode row `(layer, pattern)` to `listener` within the block."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def register() -> None:
    """Make the function known to transformers; doing it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def attention(
    module: Any,
    query: Float[Tensor, "batch head query_pos d_head"],
    key: Float[Tensor, "batch kv_head key_pos d_head"],
    value: Float[Tensor, "batch kv_head key_pos d_value"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Float[Tensor, "batch query_pos head d_value"], None]:
    """See the module; the signature is transformers'.

    Raises:
        UnsupportedModelError: Soft-capping or attention sinks, which change the softmax.
    """
    for extra in UNKNOWN.intersection(kwargs):
        if kwargs[extra] is not None:
            raise UnsupportedModelError(f"the fast engine does not know {extra} in attention")
    listener = _LISTENER.get()
    if query.shape[2] > 1 or listener is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    pattern, z = _decode_row(query, key, value, attention_mask, scale)
    listener(module.layer_idx, pattern)
    return z, None


def _decode_row(
    query: Float[Tensor, "batch head 1 d_head"],
    key: Float[Tensor, "batch kv_head key_pos d_head"],
    value: Float[Tensor, "batch kv_head key_pos d_value"],
    mask: Tensor | None,
    scale: float,
) -> tuple[Float[Tensor, "batch head key_pos"], Float[Tensor, "batch 1 head d_value"]]:
    """Row and output of one query; `flatten` because einops would cost 2 % of a small step."""
    batch, n_kv_heads = key.shape[:2]
    grouped = query.reshape(batch * n_kv_heads, -1, query.shape[3])  # [(batch kv), group, d]
    logits = torch.bmm(grouped * scale, key.flatten(0, 1).transpose(1, 2)).float()
    if mask is not None:
        logits = _masked(logits.unflatten(0, (batch, n_kv_heads)), mask).flatten(0, 1)
    pattern = logits.softmax(-1)
    z = torch.bmm(pattern.to(value.dtype), value.flatten(0, 1))
    n_heads = query.shape[1]
    return (
        pattern.reshape(batch, n_heads, -1),
        z.reshape(batch, 1, n_heads, value.shape[3]),
    )


def _masked(
    logits: Float[Tensor, "batch kv_head group key_pos"], mask: Tensor
) -> Float[Tensor, "batch kv_head group key_pos"]:
    mask = mask[:, :, -1:, : logits.shape[-1]]
    if mask.dtype == torch.bool:
        return logits.masked_fill(~mask, float("-inf"))
    return logits + mask
