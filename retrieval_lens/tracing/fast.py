"""The fast engine: plain transformers modules, rows scored inside the attention function."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache

from retrieval_lens.errors import InputError
from retrieval_lens.models import attention_layers
from retrieval_lens.tracing.decoding import Decoder, StepOutput
from retrieval_lens.tracing.edits import AttentionEdit, n_untouched
from retrieval_lens.tracing.fast_attention import RowListener, listening
from retrieval_lens.tracing.kv_cache import (
    BufferCache,
    copy_layers,
    restore_layers,
    uses_only_full_attention,
)
from retrieval_lens.tracing.replay import Replay
from retrieval_lens.tracing.twin import twin_of
from retrieval_lens.tracing.twin_reads import twin_module
from retrieval_lens.types import Prompts

if TYPE_CHECKING:
    from retrieval_lens.tracing.prefix import Prefix

MIN_SHARED = 32  # tokens
MASK_LIMIT = 2**24  # entries of one mask


class FastDecoder(Decoder):
    """Decodes on the bridge's twin; several rows at once where every layer sees everything."""

    def __init__(
        self,
        bridge: Any,
        listener: RowListener,
        hidden_at: Sequence[str],
        prefix: "Prefix | None" = None,
        replays: bool = False,
    ):
        super().__init__()
        self.twin: Any = twin_of(bridge)
        self.listener: RowListener = listener
        self.prefix: Prefix | None = prefix
        self.replays: bool = replays
        self.layers: list[int] = attention_layers(bridge)
        blocks = self.twin.get_submodule(bridge.adapter.component_mapping["blocks"].name)
        self.blocks: Replay = Replay([blocks[layer] for layer in range(len(blocks))])
        self.modules: dict[str, tuple[Any, bool]] = {
            name: twin_module(bridge, self.twin, name) for name in hidden_at
        }
        self.hidden: dict[str, Tensor] = {}

    def attach(self, stack: ExitStack) -> None:
        """Hook what is to be read."""
        for name, (module, at_input) in self.modules.items():
            if at_input:
                handle = module.register_forward_pre_hook(self._keeper(name), with_kwargs=True)
            else:
                handle = module.register_forward_hook(self._keeper(name))
            stack.callback(handle.remove)
        if self.replays:
            self.blocks.attach(stack)

    def _keeper(self, name: str) -> Any:
        def keep(module: Any, args: Any, extra: Any) -> None:
            """`extra` is the output after a module, and its keyword arguments before it."""
            value = extra
            if isinstance(extra, dict):
                value = args[0] if args else extra["hidden_states"]
            value = value[0] if isinstance(value, tuple) else value
            self.hidden[name] = value[:, -1].float()

        return keep

    @torch.inference_mode()
    def prefill(
        self, prompts: Prompts, n_new: int, edits: Sequence[AttentionEdit | None] | None = None
    ) -> None:
        """One prompt after the other, unpadded, each into its row of one buffer.

        A start that the prefix or an earlier prompt has as well is not computed again.
        """
        config = self.twin.config
        lengths = [len(prompt) - 1 for prompt in prompts]
        self.cache: Any
        if uses_only_full_attention(config):
            n_layers = config.get_text_config(decoder=True).num_hidden_layers
            self.cache = BufferCache(n_layers, lengths, n_new)
        elif len(prompts) == 1:
            self.cache = DynamicCache(config=config)
        else:
            raise InputError("models with sliding-window layers decode one prompt at a time")
        self.n_cached: int = max(lengths)
        self.padding: Int[Tensor, " row"] = torch.tensor(
            [self.n_cached - length for length in lengths]
        )
        starts = [prompt[:-1] for prompt in prompts]
        edits = edits or [None] * len(prompts)
        for row, start in enumerate(starts):
            shared = self._share(row, starts, edits)
            if len(start) > shared:
                with listening(None, edits[row]):
                    self._forward(start[shared:].unsqueeze(0))
        if isinstance(self.cache, BufferCache):
            self.cache.begin_decode()

    def _share(self, row: int, starts: Prompts, edits: Sequence[AttentionEdit | None]) -> int:
        """Begin a row with what it has in common with what is known; how many tokens that is."""
        if not isinstance(self.cache, BufferCache):
            return 0
        like, shared = 0, 0
        if edits[row] is None:
            known = [i for i in range(row) if edits[i] is None]
            index, shared = longest_shared_start([starts[i] for i in known], starts[row])
            like = known[index] if known else 0
            if self.prefix is not None:
                _, in_prefix = longest_shared_start([self.prefix.token_ids], starts[row])
                if in_prefix > shared:
                    self.cache.fill_row(row, self.prefix.keys, self.prefix.values, in_prefix)
                    return in_prefix
        self.cache.begin_row(row, like, shared)
        return shared

    @torch.inference_mode()
    def step(
        self,
        tokens: Int[Tensor, " row"],
        edit: AttentionEdit | None = None,
        listener: RowListener | None = None,
        again: bool = False,
    ) -> StepOutput:
        """One token a row; rows shorter than the longest are masked at their front."""
        n = len(tokens)
        self.n_cached += 1
        extra: dict[str, Any] = {}
        if bool(self.padding[:n].any()):
            slots = torch.arange(self.n_cached)
            extra["attention_mask"] = (slots >= self.padding[:n].unsqueeze(1)).long()
            extra["position_ids"] = self.query_positions()[:n].unsqueeze(1)
        if isinstance(self.cache, BufferCache):
            self.cache.first_rows(n)
        with ExitStack() as stack:
            stack.enter_context(listening(listener or self.listener, edit))
            if again:
                stack.enter_context(self.blocks.replaying(self._untouched(edit), n))
            elif self.replays:
                stack.enter_context(self.blocks.kept())
            logits = self._forward(tokens.unsqueeze(1), **extra).logits
        if isinstance(self.cache, BufferCache):
            self.cache.set_length(self.n_cached)
        hidden = {name: self.hidden[name] for name in self.modules}
        return StepOutput(logits[:, -1].float(), hidden)

    @torch.inference_mode()
    def run(self, tokens: Int[Tensor, " pos"], **extra: Any) -> StepOutput:
        """Feed tokens of one row behind what `cache` holds; `extra` goes to the model as it is."""
        with listening(self.listener):
            logits = self._forward(tokens.unsqueeze(0), **extra).logits
        hidden = {name: self.hidden[name] for name in self.modules}
        return StepOutput(logits[:, -1].float(), hidden)

    def _untouched(self, edit: AttentionEdit | None) -> int:
        """Blocks that need not run again; all do where their cache forgot the step."""
        if edit is None or not self.replays or not isinstance(self.cache, BufferCache):
            return 0
        return n_untouched(self.layers, edit, len(self.blocks.blocks))

    def snapshot(self, newest: bool = False) -> Any:
        """The length of the buffer, and a copy of its last slot if asked for; see `Decoder`."""
        if not isinstance(self.cache, BufferCache):
            return self.n_cached, copy_layers(self.cache)
        return self.n_cached, self.cache.newest() if newest else None

    def restore(self, snapshot: Any) -> None:
        """Take back every step since the snapshot."""
        self.n_cached, state = snapshot
        if isinstance(self.cache, BufferCache):
            self.cache.rewind(self.n_cached, state)
        else:
            restore_layers(self.cache, state)

    def _forward(self, token_ids: Tensor, **extra: Any) -> Any:
        device = self.twin.get_input_embeddings().weight.device
        extra = {name: value.to(device) for name, value in extra.items()}
        return self.twin(
            input_ids=token_ids.to(device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            **extra,
        )

    def keep(self, rows: list[int]) -> None:
        """Drop the finished rows from the buffer."""
        index = torch.tensor(rows)
        self.padding = self.padding[index]
        self.cache.keep(index)

    def first_key(self, n_keys: int) -> Int[Tensor, " row"]:
        """The last `n_keys` slots, shifted by each row's padding."""
        return self.n_cached - n_keys - self.padding

    def query_positions(self) -> Int[Tensor, " row"]:
        """The last slot, shifted by each row's padding."""
        return self.n_cached - 1 - self.padding


def longest_shared_start(earlier: Prompts, start: Int[Tensor, " _"]) -> tuple[int, int]:
    """Which of the earlier prompts begins like `start` for longest, and for how many tokens.

    Short starts are not worth it; and going on from a cache needs a mask of queries x keys, which
    must stay small beside what is computed: both give 0.

    Examples:
        >>> a, b = torch.arange(100), torch.cat([torch.arange(60), torch.zeros(9).long()])
        >>> longest_shared_start([b, a], torch.arange(80)), longest_shared_start([a], b[:10])
        ((1, 80), (0, 0))
    """
    best = (0, 0)
    for row, other in enumerate(earlier):
        n = min(len(other), len(start))
        differ = (other[:n] != start[:n]).nonzero()
        shared = int(differ[0]) if len(differ) else n
        if shared > best[1]:
            best = (row, shared)
    small = (len(start) - best[1]) * len(start) <= MASK_LIMIT
    return best if best[1] >= MIN_SHARED and small else (0, 0)
