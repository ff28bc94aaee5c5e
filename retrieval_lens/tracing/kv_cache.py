"""Keys and values of a batch of prompts, written in place into one allocation.

1. Every layer holds one buffer `[row, kv_head, slot, d_head]` with room for the longest prompt and
   the whole response, so a decode step copies nothing but its own key and value.
2. Prompts are prefilled one by one, without padding, each straight into its row of the buffer and
   right-aligned, so that all rows end at the same slot; the slots before a row's prompt are masked.
3. What a prompt has in common with the start of an earlier one is copied, not computed again.
4. From then on all rows decode together, or the first few of them, and a finished row can be
   dropped.
5. A step can be taken back and run again: its slot is written anew, or put back as it was.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer


class BufferLayer(DynamicLayer):
    """One layer's buffer; what is written is chosen by its owner, the `BufferCache`."""

    keys: torch.Tensor | None
    values: torch.Tensor | None

    def __init__(self, n_rows: int, n_slots: int):
        super().__init__()
        self.shape: tuple[int, int] = (n_rows, n_slots)
        self.rows: slice = slice(0, n_rows)
        self.first: int = 0
        self.length: int = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate both buffers, uninitialised: every slot is written before it is read."""
        self.dtype: torch.dtype = key_states.dtype
        self.device: torch.device = key_states.device
        n_rows, n_slots = self.shape
        self.keys, self.values = (
            torch.empty(n_rows, x.shape[1], n_slots, x.shape[3], dtype=x.dtype, device=x.device)
            for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write behind what is there and return everything up to it."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        start = self.first + self.length
        self.length += key_states.shape[-2]
        end = self.first + self.length
        self.keys[self.rows, :, start:end] = key_states
        self.values[self.rows, :, start:end] = value_states
        return self.keys[self.rows, :, self.first : end], self.values[
            self.rows, :, self.first : end
        ]

    def get_seq_length(self) -> int:
        """Slots in use in the rows at hand."""
        return self.length

    def pad(self, row: int, n_slots: int) -> None:
        """Zero the slots before a row's prompt: masked, but 0 times NaN would be NaN."""
        if self.is_initialized and n_slots:
            assert self.keys is not None and self.values is not None
            self.keys[row, :, :n_slots] = 0
            self.values[row, :, :n_slots] = 0

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these."""
        self.shape = (len(rows), self.shape[1])
        self.rows = slice(0, len(rows))
        if self.is_initialized:
            assert self.keys is not None and self.values is not None
            self.keys = self.keys.index_select(0, rows.to(self.keys.device))
            self.values = self.values.index_select(0, rows.to(self.values.device))


class BufferCache(Cache):
    """A `transformers` cache over `BufferLayer`s; see the module's three steps."""

    def __init__(self, n_layers: int, prompt_lengths: Sequence[int], n_new: int):
        longest = max(prompt_lengths)
        layers = [BufferLayer(len(prompt_lengths), longest + n_new) for _ in range(n_layers)]
        super().__init__(layers=list(layers))
        self.buffers: list[BufferLayer] = layers
        self.lengths: list[int] = list(prompt_lengths)
        self.longest: int = longest

    def begin_row(self, row: int, like: int = 0, shared: int = 0) -> None:
        """Let the next forward pass prefill this row behind its first `shared` tokens.

        Args:
            row: The row.
            like: A row that is prefilled and begins with the same `shared` tokens.
            shared: How many.
        """
        first, other = self.longest - self.lengths[row], self.longest - self.lengths[like]
        for layer in self.buffers:
            layer.rows, layer.first, layer.length = slice(row, row + 1), first, shared
            if shared:
                assert layer.keys is not None and layer.values is not None
                for buffer in (layer.keys, layer.values):
                    buffer[row, :, first : first + shared] = buffer[like, :, other : other + shared]

    def begin_decode(self) -> None:
        """All prompts are in: the next forward passes extend every row."""
        for layer in self.buffers:
            layer.rows, layer.first, layer.length = slice(0, layer.shape[0]), 0, self.longest
            for row, length in enumerate(self.lengths):
                layer.pad(row, self.longest - length)

    def fill_row(
        self, row: int, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor], n: int
    ) -> None:
        """Take the first `n` slots of a row from outside, `[1, kv_head, slot, d_head]` a layer."""
        first = self.longest - self.lengths[row]
        for layer, key, value in zip(self.buffers, keys, values, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(key, value)
            assert layer.keys is not None and layer.values is not None
            layer.keys[row, :, first : first + n] = key[0, :, :n]
            layer.values[row, :, first : first + n] = value[0, :, :n]
            layer.rows, layer.first, layer.length = slice(row, row + 1), first, n

    def first_rows(self, n: int) -> None:
        """Let the next forward pass extend the first `n` rows."""
        for layer in self.buffers:
            layer.rows = slice(0, n)

    def set_length(self, length: int) -> None:
        """Say how many slots are in use, in layers too that a forward pass has left out."""
        for layer in self.buffers:
            layer.length = length

    def newest(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """A copy of the slot that was written last, of the rows at hand."""
        slots = []
        for layer in self.buffers:
            assert layer.keys is not None and layer.values is not None
            at = layer.first + layer.length - 1
            slots.append(
                (layer.keys[layer.rows, :, at].clone(), layer.values[layer.rows, :, at].clone())
            )
        return slots

    def rewind(
        self, length: int, newest: Sequence[tuple[torch.Tensor, torch.Tensor]] | None = None
    ) -> None:
        """Go back to `length` slots, with the last of them as copied by `newest`.

        A copy of one row is put into every row.
        """
        for i, layer in enumerate(self.buffers):
            layer.length = length
            if newest is not None:
                assert layer.keys is not None and layer.values is not None
                rows = slice(0, layer.shape[0] if len(newest[i][0]) == 1 else len(newest[i][0]))
                layer.keys[rows, :, layer.first + length - 1] = newest[i][0]
                layer.values[rows, :, layer.first + length - 1] = newest[i][1]

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these."""
        for layer in self.buffers:
            layer.keep(rows)


def uses_only_full_attention(config: Any) -> bool:
    """Whether every layer sees the whole context, so that a `BufferCache` can hold it."""
    cache = DynamicCache(config=config)
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def copy_layers(cache: Any) -> list[Any]:
    """A snapshot of a `DynamicCache`: every step puts new tensors in, so the old ones stay."""
    return [copy.copy(layer) for layer in cache.layers]


def restore_layers(cache: Any, layers: Sequence[Any]) -> None:
    """Go back to a snapshot, which can be gone back to again."""
    cache.layers = [copy.copy(layer) for layer in layers]
