"""The hook engine: the bridge itself, rows read at `hook_pattern`.

Slower than the fast engine and the same numbers; it is what sees the user's own hooks. Where the
user has none and the fast engine is proven, the prompt is prefilled on the plain twin, so that no
n x n pattern is built; otherwise the prefill must go through the bridge, in one pass.
"""

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache

from retrieval_lens.errors import InputError
from retrieval_lens.models import (
    attention_layers,
    clear_kept_patterns,
    hook_names,
)
from retrieval_lens.tracing.decoding import Decoder, StepOutput
from retrieval_lens.tracing.edits import AttentionEdit, edit_hooks
from retrieval_lens.tracing.fast_attention import RowListener
from retrieval_lens.tracing.kv_cache import copy_layers, restore_layers
from retrieval_lens.tracing.twin import twin_of
from retrieval_lens.types import Prompts


class HookedDecoder(Decoder):
    """Decodes one prompt on the bridge, with hooks of ours on top of the user's."""

    def __init__(
        self,
        bridge: Any,
        listener: RowListener,
        hidden_at: Sequence[str],
        prefill_on_twin: bool = False,
    ):
        super().__init__()
        self.bridge: Any = bridge
        self.listener: RowListener = listener
        self.hidden_at: tuple[str, ...] = tuple(hidden_at)
        self.prefill_on_twin: bool = prefill_on_twin
        self.hidden: dict[str, Tensor] = {}
        self.decoding: RowListener | None = None

    def attach(self, stack: ExitStack) -> None:
        """Hook what is to be read."""
        hooks = [
            (hook_names.pattern(i), self._on_pattern(i)) for i in attention_layers(self.bridge)
        ]
        hooks += [(name, self._keeper(name)) for name in self.hidden_at]
        stack.enter_context(self.bridge.hooks(fwd_hooks=hooks))

    def _on_pattern(self, layer: int) -> Any:
        def read(pattern: Tensor, hook: Any) -> None:
            if self.decoding is not None:
                self.decoding(layer, pattern[:, :, -1].float())

        return read

    def _keeper(self, name: str) -> Any:
        def keep(value: Tensor, hook: Any) -> None:
            self.hidden[name] = value[:, -1].float()

        return keep

    @torch.inference_mode()
    def prefill(
        self, prompts: Prompts, n_new: int, edits: Sequence[AttentionEdit | None] | None = None
    ) -> None:
        """The prompt but its last token, on the twin where that is allowed."""
        if len(prompts) != 1:
            raise InputError("the hook engine decodes one prompt at a time")
        start = prompts[0][:-1].unsqueeze(0)
        self.cache: DynamicCache = DynamicCache(config=self.bridge.original_model.config)
        self.n_cached: int = start.shape[1]
        if self.n_cached == 0:
            return
        edit = edits[0] if edits else None
        if self.prefill_on_twin and edit is None:
            twin = twin_of(self.bridge)
            device = twin.get_input_embeddings().weight.device
            twin(start.to(device), past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        else:
            with self._editing(edit):
                self._forward(start)
            clear_kept_patterns(self.bridge)

    @torch.inference_mode()
    def step(
        self,
        tokens: Int[Tensor, " row"],
        edit: AttentionEdit | None = None,
        listener: RowListener | None = None,
        again: bool = False,
    ) -> StepOutput:
        """One token through the bridge, every layer of it."""
        self.n_cached += 1
        self.decoding = listener or self.listener
        try:
            with self._editing(edit):
                logits = self._forward(tokens.unsqueeze(1))
        finally:
            self.decoding = None
        hidden = {name: self.hidden[name] for name in self.hidden_at}
        return StepOutput(logits[:, -1].float(), hidden)

    @torch.inference_mode()
    def run(self, tokens: Int[Tensor, " pos"], **extra: Any) -> StepOutput:
        """Feed tokens behind what `cache` holds; `extra` goes to the model as it is."""
        self.decoding = self.listener
        try:
            logits = self._forward(tokens.unsqueeze(0), **extra)
        finally:
            self.decoding = None
        clear_kept_patterns(self.bridge)
        hidden = {name: self.hidden[name] for name in self.hidden_at}
        return StepOutput(logits[:, -1].float(), hidden)

    def _editing(self, edit: AttentionEdit | None) -> Any:
        return nullcontext() if edit is None else self.bridge.hooks(fwd_hooks=edit_hooks(edit))

    def snapshot(self, newest: bool = False) -> Any:
        """Shallow copies of the cache's layers, which every step replaces."""
        return self.n_cached, copy_layers(self.cache)

    def restore(self, snapshot: Any) -> None:
        """Put them back."""
        self.n_cached, layers = snapshot
        restore_layers(self.cache, layers)

    def _forward(self, token_ids: Tensor, **extra: Any) -> Tensor:
        device = next(self.bridge.original_model.parameters()).device
        extra = {name: value.to(device) for name, value in extra.items()}
        return self.bridge(
            token_ids.to(device),
            past_key_values=self.cache,
            return_type="logits",
            logits_to_keep=1,
            **extra,
        )

    def keep(self, rows: list[int]) -> None:
        """There is one row; it cannot be dropped while it goes on."""
        raise InputError(f"the hook engine has one row; cannot keep {rows}")

    def first_key(self, n_keys: int) -> Int[Tensor, " row"]:
        """The last `n_keys` positions (a sliding window's keys are the newest ones)."""
        return torch.tensor([self.n_cached - n_keys])

    def query_positions(self) -> Int[Tensor, " row"]:
        """The last position."""
        return torch.tensor([self.n_cached - 1])
