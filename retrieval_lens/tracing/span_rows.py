"""The attention of a span of query rows at the end of a prompt, averaged over the rows.

1. What all prompts begin with, up to the first row that is read, is prefilled once, without
   building any n x n pattern.
2. The rest of each prompt is fed behind it as one block. Every layer's rows are read as they come,
   added up and dropped, so that memory grows with (rows + 1) x keys.
3. The fast engine reads the rows inside its attention function, the hook engine at `hook_pattern`,
   after the hooks of the user.

Where the frequencies of a model depend on the length (Longrope), nothing is shared.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from retrieval_lens.errors import InputError, NumericalError, UnsupportedModelError
from retrieval_lens.models import attention_layers, clear_kept_patterns, hook_names
from retrieval_lens.tracing.fast_attention import listening
from retrieval_lens.tracing.kv_cache import copy_layers, restore_layers
from retrieval_lens.tracing.limits import is_longrope
from retrieval_lens.tracing.twin import twin_of
from retrieval_lens.types import Prompts


class SpanRows:
    """Adds up the rows from a position on; for the fast engine it looks like an edit.

    Args:
        layers: The attention layers.
        n_tokens: Length of the prompt.
        first_query: Position of the first row that counts.
        start: Position of the first row that will be seen.
    """

    edits_scores: bool = True

    def __init__(self, layers: Sequence[int], n_tokens: int, first_query: int, start: int):
        self.layers: list[int] = list(layers)
        self.n_tokens: int = n_tokens
        self.first_query: int = first_query
        self.at: dict[int, int] = dict.fromkeys(self.layers, start)
        self.sums: dict[int, Float[Tensor, "head key_pos"]] = {}

    def add(self, layer: int, pattern: Float[Tensor, "1 head query_pos key_pos"]) -> None:
        """Take the next rows of a layer; the last key is the newest (a sliding window's too)."""
        rows = pattern[0, :, max(self.first_query - self.at[layer], 0) :].float().sum(1)
        self.at[layer] += pattern.shape[2]
        rows = torch.nn.functional.pad(rows, (self.n_tokens - rows.shape[-1], 0))
        self.sums[layer] = self.sums[layer] + rows if layer in self.sums else rows

    def scores(
        self, layer: int, scores: Float[Tensor, "1 head query_pos key_pos"]
    ) -> Float[Tensor, "1 head query_pos key_pos"]:
        """Read the rows that these scores become; change nothing."""
        self.add(layer, scores.softmax(-1))
        return scores

    def z(
        self, layer: int, z: Float[Tensor, "1 query_pos head d_head"]
    ) -> Float[Tensor, "1 query_pos head d_head"]:
        """Change nothing."""
        return z

    def mean(self) -> Float[Tensor, "layer head key_pos"]:
        """The mean row of every head, float64 on the CPU.

        Raises:
            UnsupportedModelError: A layer sent no rows, or layers differ in their heads.
            NumericalError: NaN or infinity in a row.
        """
        seen = [layer for layer in self.layers if self.at[layer] == self.n_tokens]
        if seen != self.layers or len({len(rows) for rows in self.sums.values()}) > 1:
            raise UnsupportedModelError(
                f"whole attention rows came from layers {seen}, not from {self.layers}, or layers "
                f"have different numbers of heads"
            )
        sums = torch.stack([self.sums[layer].cpu().double() for layer in self.layers])
        if not bool(sums.isfinite().all()):
            raise NumericalError(
                "an attention row holds NaN or infinity: the model overflows here; load it in "
                "float32"
            )
        return sums / (self.n_tokens - self.first_query)


@torch.inference_mode()
def mean_rows(
    model: Any, prompts: Prompts, first_queries: Sequence[int], engine: str
) -> list[Float[Tensor, "layer head _"]]:
    """Mean attention row of each prompt's last query positions, `[layer, head, key_pos]`.

    Args:
        model: A bridge.
        prompts: Token ids `[pos]` each; what they begin with together is computed once.
        first_queries: For each prompt the first query position; the rows go to its end.
        engine: `"fast"` or `"hooks"`, as `choose_engine` gave it.

    Raises:
        InputError: A first query position outside its prompt.
        NumericalError: NaN or infinity in a row.
        UnsupportedModelError: Layers that send no rows or have different numbers of heads.
    """
    for prompt, first in zip(prompts, first_queries, strict=True):
        if not 0 <= first < len(prompt):
            raise InputError(f"the first query position {first} is not in 0..{len(prompt) - 1}")
    n_shared = 0 if is_longrope(model) else min(shared_start(prompts), *first_queries)
    runner = twin_of(model) if engine == "fast" else model
    cache = DynamicCache(config=model.original_model.config)
    layers, means = attention_layers(model), []
    with ExitStack() as stack:
        stack.callback(clear_kept_patterns, model)
        if n_shared:
            _run(runner, prompts[0][:n_shared], cache, engine)
        before = copy_layers(cache)
        for prompt, first in zip(prompts, first_queries, strict=True):
            rows = SpanRows(layers, len(prompt), first, n_shared)
            with _reading(model, rows, engine):
                _run(runner, prompt[n_shared:], cache, engine)
            means.append(rows.mean())
            restore_layers(cache, before)
    return means


def shared_start(prompts: Prompts) -> int:
    """How many tokens all prompts begin with together.

    Examples:
        >>> shared_start([torch.tensor([5, 6, 7]), torch.tensor([5, 6, 8, 9])])
        2
    """
    n = min(len(prompt) for prompt in prompts)
    same = torch.stack([prompt[:n] == prompts[0][:n] for prompt in prompts]).all(0)
    return int(same.long().cumprod(0).sum())


def _reading(model: Any, rows: SpanRows, engine: str) -> Any:
    """A block in which the rows of every pass are read."""
    if engine == "fast":
        return listening(None, rows)
    hooks = [(hook_names.pattern(layer), _hook(rows, layer)) for layer in rows.layers]
    return model.hooks(fwd_hooks=hooks)


def _hook(rows: SpanRows, layer: int) -> Any:
    def read(pattern: Tensor, hook: Any) -> None:
        rows.add(layer, pattern)

    return read


def _run(runner: Any, token_ids: Tensor, cache: Any, engine: str) -> None:
    """Feed tokens behind the cache."""
    extra = {"use_cache": True} if engine == "fast" else {"return_type": "logits"}
    ids = token_ids.unsqueeze(0).to(next(runner.parameters()).device)
    runner(ids, past_key_values=cache, logits_to_keep=1, **extra)
