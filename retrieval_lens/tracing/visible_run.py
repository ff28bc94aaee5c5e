"""The cache behind a sequence of which only some positions are visible, and what was fed to it.

1. Where every layer sees everything, the fast engine runs the visible tokens alone, with their
   positions: the same numbers as with a mask, for the cost of what is visible.
2. Elsewhere (sliding windows count slots of the cache, Longrope counts tokens; the hook engine must
   show hooks the whole sequence) all tokens run, and an attention mask hides some of them.
3. What begins like the sequence before it, with the same tokens visible, is not computed again
   where 1. applies.
"""

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache

from retrieval_lens.errors import InputError, UnsupportedModelError
from retrieval_lens.tracing.decoding import StepOutput
from retrieval_lens.tracing.engine import choose_engine
from retrieval_lens.tracing.fast import FastDecoder, longest_shared_start
from retrieval_lens.tracing.hooked import HookedDecoder
from retrieval_lens.tracing.kv_cache import BufferCache, uses_only_full_attention
from retrieval_lens.tracing.limits import is_longrope
from retrieval_lens.tracing.twin import twin_of, weights_version

Rows = dict[int, Float[Tensor, "_ _"]]  # {layer: [head, key_pos]}


class VisibleRun:
    """Feeds a decoder; keeps which token is in which slot of its cache.

    Args:
        model: A bridge.
        engine: `"fast"` or `"hooks"`, as `choose_engine` gave it.
        hidden_at: Hook names whose state is kept.

    Attributes:
        leaves_out: Whether hidden tokens are left out; they are masked otherwise.
        token_ids: `[slot]`, what the cache holds.
        positions: `[slot]`, where it is in the whole sequence.
        visible: `[pos]`, which positions of the sequence so far are visible.

    Raises:
        UnsupportedModelError: Positions cannot be given to the model.
    """

    def __init__(self, model: Any, engine: str, hidden_at: Sequence[str]):
        require_positions(model)
        self.model: Any = model
        self.hidden_at: tuple[str, ...] = tuple(hidden_at)
        full = uses_only_full_attention(model.original_model.config)
        self.leaves_out: bool = engine == "fast" and full and not is_longrope(model)
        decoder = FastDecoder if engine == "fast" else HookedDecoder
        self.decoder: Any = decoder(model, self._listen, self.hidden_at)
        self.forget()

    def attach(self, stack: ExitStack) -> None:
        """Put the hooks on until `stack` closes."""
        stack.callback(self.forget)
        stack.enter_context(self.decoder)

    def forget(self) -> None:
        """Drop the cache."""
        self.decoder.cache = None
        self.token_ids: Int[Tensor, " slot"] = torch.empty(0, dtype=torch.long)
        self.positions: Int[Tensor, " slot"] = torch.empty(0, dtype=torch.long)
        self.visible: Bool[Tensor, " pos"] = torch.empty(0, dtype=torch.bool)
        self.version: tuple[float, ...] = ()
        self.last_rows: dict[int, Tensor] = {}

    def _listen(self, layer: int, rows: Float[Tensor, "1 head key_pos"]) -> None:
        self.last_rows[layer] = rows[0]

    def begin(self, start: Int[Tensor, " pos"], visible: Bool[Tensor, " pos"], n_new: int) -> None:
        """Take in the start of a new sequence, with room for `n_new` tokens behind it.

        Raises:
            InputError: Hooks on the bridge that this engine does not see, or other weights.
        """
        version = self._version()
        positions = torch.arange(len(start))
        if self.leaves_out:
            positions = positions[visible]
        shared = self._open_cache(start[positions], positions, n_new, version)
        self.token_ids, self.positions = start[positions[:shared]], positions[:shared]
        self.visible, self.version = visible, version
        if len(positions) > shared:
            self.feed(start[positions[shared:]], positions[shared:])

    def _version(self) -> tuple[float, ...]:
        """What the weights are now, where the engine depends on them."""
        if not isinstance(self.decoder, FastDecoder):
            return ()
        choose_engine(self.model, "fast", self.hidden_at)
        if self.decoder.twin is not twin_of(self.model):
            raise InputError("weights were replaced within the session; open a new one")
        return weights_version(self.model)

    def _open_cache(
        self,
        token_ids: Int[Tensor, " slot"],
        positions: Int[Tensor, " slot"],
        n_new: int,
        version: tuple[float, ...],
    ) -> int:
        """A cache for these slots and what follows; how many of them it holds already."""
        config = self.model.original_model.config
        if not self.leaves_out:
            self.decoder.cache = DynamicCache(config=config)
            return 0
        n_layers = config.get_text_config(decoder=True).num_hidden_layers
        cache, shared = BufferCache(n_layers, [len(token_ids)], n_new), 0
        if version == self.version:
            n = min(len(self.token_ids), len(token_ids))
            moved = (self.positions[:n] != positions[:n]).nonzero()
            n = int(moved[0]) if len(moved) else n
            _, shared = longest_shared_start([self.token_ids[:n]], token_ids)
        if shared:
            old = self.decoder.cache.buffers
            cache.fill_row(0, [x.keys for x in old], [x.values for x in old], shared)
        self.decoder.cache = cache
        return shared

    def feed(self, token_ids: Int[Tensor, " slot"], positions: Int[Tensor, " slot"]) -> StepOutput:
        """Feed tokens at these positions; those beyond the sequence so far are visible."""
        n_more = max(int(positions[-1]) + 1 - len(self.visible), 0)
        visible = torch.cat([self.visible, self.visible.new_ones(n_more)])
        extra = {"position_ids": positions.unsqueeze(0)}
        n_fed = len(self.positions) + len(positions)
        if not self.leaves_out and not bool(visible[:n_fed].all()):
            extra["attention_mask"] = visible[:n_fed].long().unsqueeze(0)
        self.last_rows = {}
        output = self.decoder.run(token_ids, **extra)
        self.token_ids = torch.cat([self.token_ids, token_ids])
        self.positions, self.visible = torch.cat([self.positions, positions]), visible
        return output

    def whole_rows(self) -> Rows:
        """The rows of the token fed last, put where their keys are in the whole sequence."""
        whole: Rows = {}
        for layer, row in self.last_rows.items():
            keys = self.positions[len(self.positions) - row.shape[1] :]
            whole[layer] = row.new_zeros(len(row), len(self.visible), device="cpu")
            whole[layer][:, keys] = row.cpu()
        return whole


def require_positions(model: Any) -> None:
    """Refuse a model whose positions cannot be given to it.

    Raises:
        UnsupportedModelError: It derives them by itself, so that hiding would move tokens.
    """
    plain = model.original_model
    takes = "position_ids" in inspect.signature(type(plain).forward).parameters
    if not takes or getattr(plain.config, "alibi", False):
        raise UnsupportedModelError(
            f"{type(plain).__name__} derives positions by itself, so hiding context would move the "
            f"visible tokens; take a model whose forward uses position_ids"
        )


def checked_sequence(
    token_ids: Any, visible: Any
) -> tuple[Int[Tensor, " pos"], Bool[Tensor, " pos"]]:
    """Both as tensors on the CPU.

    Raises:
        InputError: Another shape or type than is wanted, or a hidden last token.
    """
    token_ids, visible = torch.as_tensor(token_ids), torch.as_tensor(visible)
    whole = not (token_ids.is_floating_point() or token_ids.dtype == torch.bool)
    if token_ids.ndim != 1 or len(token_ids) == 0 or not whole:
        raise InputError(
            f"token_ids must be [pos] of integers, at least one; got {tuple(token_ids.shape)} of "
            f"{token_ids.dtype}"
        )
    if visible.dtype != torch.bool or visible.shape != token_ids.shape:
        raise InputError(
            f"visible must be bool, one a token ({len(token_ids)}); got {tuple(visible.shape)} of "
            f"{visible.dtype}"
        )
    if not bool(visible[-1]):
        raise InputError("the last token is hidden, but decoding looks from it; make it visible")
    return token_ids.to("cpu", torch.long), visible.cpu()
