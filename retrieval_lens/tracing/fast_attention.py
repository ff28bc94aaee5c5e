"""The attention function of the fast engine, registered with transformers under its own name.

1. More than one query (prefill): transformers' own sdpa, which never builds an n x n pattern.
2. One query (a decode step): one product of the query row with the keys, the query heads grouped
   by key-value head so that keys and values are never repeated; softmax in float32; the row goes
   to the listener of the moment; output = row x values.
3. An edit, where there is one, changes the scores before the softmax or the output after it. In a
   prefill, heads with edited scores are computed anew, a few query rows at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval_lens.errors import UnsupportedModelError
from retrieval_lens.tracing.edits import AttentionEdit

NAME = "retrieval_lens"
UNKNOWN = frozenset({"softcap", "s_aux", "sinks", "position_bias"})  # each changes the softmax
CHUNK = 256  # query rows of an edited prefill
RowListener = Callable[[int, Float[Tensor, "row head key_pos"]], None]
_PASS: ContextVar[tuple[RowListener | None, AttentionEdit | None]] = ContextVar(
    "retrieval_lens_pass", default=(None, None)
)


@contextmanager
def listening(listener: RowListener | None, edit: AttentionEdit | None = None) -> Iterator[None]:
    """Send every decode row `(layer, pattern)` to `listener` within the block, and edit."""
    token = _PASS.set((listener, edit))
    try:
        yield
    finally:
        _PASS.reset(token)


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
    listener, edit = _PASS.get()
    decoding = query.shape[2] == 1 and not (listener is None and edit is None)
    if edit is not None and module.layer_idx not in edit.layers:
        edit = None
    of_scores = edit if edit is not None and edit.edits_scores else None
    if decoding or of_scores is not None:
        scale = query.shape[3] ** -0.5 if scaling is None else scaling
        attend = _decode_row if decoding else _edited_rows
        pattern, z = attend(query, key, value, attention_mask, scale, module.layer_idx, of_scores)
        if listener is not None and pattern is not None:
            listener(module.layer_idx, pattern)
    else:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        z, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    return (z if edit is None else edit.z(module.layer_idx, z)), None


def _decode_row(
    query: Float[Tensor, "batch head 1 d_head"],
    key: Float[Tensor, "batch kv_head key_pos d_head"],
    value: Float[Tensor, "batch kv_head key_pos d_value"],
    mask: Tensor | None,
    scale: float,
    layer: int,
    edit: AttentionEdit | None,
) -> tuple[Float[Tensor, "batch head key_pos"], Float[Tensor, "batch 1 head d_value"]]:
    """Row and output of one query; `flatten` because einops would cost 2 % of a small step."""
    batch, n_kv_heads = key.shape[:2]
    grouped = query.reshape(batch * n_kv_heads, -1, query.shape[3])  # [(batch kv), group, d]
    logits = torch.bmm(grouped * scale, key.flatten(0, 1).transpose(1, 2)).float()
    if mask is not None:
        logits = _masked(logits.unflatten(0, (batch, n_kv_heads)), mask).flatten(0, 1)
    if edit is not None:
        logits = logits.reshape(batch, query.shape[1], 1, -1)
        logits = edit.scores(layer, logits).reshape(batch * n_kv_heads, -1, logits.shape[-1])
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


def _edited_rows(
    query: Float[Tensor, "batch head query_pos d_head"],
    key: Float[Tensor, "batch kv_head key_pos d_head"],
    value: Float[Tensor, "batch kv_head key_pos d_value"],
    mask: Tensor | None,
    scale: float,
    layer: int,
    edit: AttentionEdit | None,
) -> tuple[None, Float[Tensor, "batch query_pos head d_value"]]:
    """Attention whose scores are edited, some query rows at a time so that memory stays linear."""
    group = query.shape[1] // key.shape[1]
    keys, values = (x.repeat_interleave(group, dim=1) for x in (key, value))
    n_queries, n_keys = query.shape[2], key.shape[2]
    parts = []
    for start in range(0, n_queries, CHUNK):
        rows = slice(start, min(start + CHUNK, n_queries))
        logits = (query[:, :, rows] * scale @ keys.transpose(2, 3)).float()
        if mask is None:
            positions = torch.arange(rows.start, rows.stop, device=query.device)
            ahead = torch.arange(n_keys, device=query.device) > (
                positions.unsqueeze(1) + n_keys - n_queries
            )
            logits = logits.masked_fill(ahead, torch.finfo(logits.dtype).min)
        elif mask.dtype == torch.bool:
            visible = mask[:, :, rows, :n_keys]
            logits = logits.masked_fill(~visible, torch.finfo(logits.dtype).min)
        else:
            logits = logits + mask[:, :, rows, :n_keys]
        logits = logits if edit is None else edit.scores(layer, logits)
        pattern = logits.softmax(-1)
        parts.append((pattern.to(value.dtype) @ values).transpose(1, 2))
    return None, torch.cat(parts, dim=1)
