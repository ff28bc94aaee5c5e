"""Keys and values of a start that many prompts share, computed once.

Prompts of a grid begin alike: the same system message, the same haystack up to the needle. A
`Prefix` is the prefill of one prompt; whatever another prompt has in common with its start is
copied from it and not computed again.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.tracing.engine import choose_engine
from retrieval_lens.tracing.fast import FastDecoder
from retrieval_lens.tracing.kv_cache import BufferCache
from retrieval_lens.tracing.limits import is_longrope
from retrieval_lens.tracing.twin import weights_version
from retrieval_lens.types import TokenIds


@dataclass(frozen=True, eq=False)
class Prefix:
    """The prefill of `token_ids` on one model; `keys` and `values` `[1, kv_head, pos, d_head]`."""

    token_ids: TokenIds
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    weights: tuple[float, ...]

    def require_current(self, bridge: Any) -> None:
        """Refuse another model, or weights that have changed since.

        Raises:
            InputError: The prefix is not of these weights.
        """
        if self.weights != weights_version(bridge):
            raise InputError("this prefix was computed with other weights; call prefill_prefix")


def prefill_prefix(model: Any, token_ids: TokenIds) -> Prefix | None:
    """Prefill `token_ids` once, for all prompts that begin with (a part of) them.

    Pass the result as `prefix=` to tracer and ablator. Results stay the same up to the order in
    which floating-point numbers are added.

    Args:
        model: A bridge.
        token_ids: `[pos]`, such as a prompt of the grid with its needle at the end.

    Returns:
        The prefix, or None where the model's caches cannot be shared (sliding-window layers,
        Longrope, or the fast engine cannot be used), which is always accepted too.

    Examples:
        ```python
        prefix = rl.tracing.prefill_prefix(model, example.token_ids)
        tracer.trace(example, max_new_tokens=4, prefix=prefix)
        ```
    """
    engine, _ = choose_engine(model, "auto", ())
    if engine != "fast" or is_longrope(model):
        return None
    decoder = FastDecoder(model, lambda layer, row: None, ())
    one_more = torch.cat([token_ids, token_ids[-1:]])  # a prefill leaves the last token out
    decoder.prefill([one_more], 0)
    if not isinstance(decoder.cache, BufferCache):
        return None
    keys = tuple(layer.keys for layer in decoder.cache.buffers)
    values = tuple(layer.values for layer in decoder.cache.buffers)
    return Prefix(token_ids, keys, values, weights_version(model))  # pyright: ignore
