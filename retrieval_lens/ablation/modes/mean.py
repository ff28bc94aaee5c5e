"""Mean: a masked head reads what it reads on average over the decode steps of other examples.

1. The reference responses are fed token by token, as they were decoded.
2. `hook_z` of every head is averaged over all their decode positions, every step counting alike.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval_lens.ablation.modes.base import AblationMode
from retrieval_lens.errors import InputError
from retrieval_lens.models import attention_layers
from retrieval_lens.tracing import Trace
from retrieval_lens.tracing.decoding import Decoder
from retrieval_lens.tracing.engine import choose_engine, open_decoder


class Mean(AblationMode):
    """`hook_z` = its mean over reference examples, on which it must not be judged.

    Args:
        model: A bridge.
        reference: Traces of the reference examples.
        engine: `"auto"`, `"fast"` or `"hooks"`.

    Raises:
        InputError: No reference.
    """

    name: ClassVar[str] = "mean"

    def __init__(self, model: Any, reference: Sequence[Trace] | None, engine: str = "auto"):
        if not reference:
            raise InputError(
                "mode='mean' needs reference= traces of examples other than those you judge"
            )
        ids = {t.provenance["example"]["id"] for t in reference}
        self.example_ids: tuple[str, ...] = tuple(sorted(ids))
        self.mean: list[Float[Tensor, "head d_head"]] = mean_z(model, reference, engine)

    def z(
        self, layer: int, z: Float[Tensor, "row query_pos head d_head"]
    ) -> Float[Tensor, "row query_pos head d_head"]:
        """The mean, at every position."""
        return self.mean[layer].to(z).expand_as(z)


def mean_z(
    model: Any, traces: Sequence[Trace], engine: str = "auto"
) -> list[Float[Tensor, "head d_head"]]:
    """Mean of `hook_z` of every layer over all decode steps of the traces, in float64."""
    chosen, _ = choose_engine(model, engine, ())
    watch = _Watch(attention_layers(model))
    for trace in traces:
        with open_decoder(model, chosen, lambda layer, row: None) as decoder:
            _feed(decoder, trace, watch)
    return [watch.sums[layer] / watch.n_steps for layer in watch.layers]


@torch.inference_mode()
def _feed(decoder: Decoder, trace: Trace, watch: "_Watch") -> None:
    decoder.prefill([trace.token_ids], trace.n_steps)
    for token in [trace.token_ids[-1:], *trace.tokens[:-1].unsqueeze(1)]:
        decoder.step(token, watch)
        watch.n_steps += 1


class _Watch:
    """An edit that changes nothing and adds up what passes."""

    edits_scores = False

    def __init__(self, layers: Sequence[int]):
        self.layers, self.n_steps = list(layers), 0
        self.sums: dict[int, Tensor] = {}

    def scores(self, layer: int, scores: Tensor) -> Tensor:
        return scores

    def z(self, layer: int, z: Tensor) -> Tensor:
        known = self.sums.get(layer)
        seen = z[0, -1].double()
        self.sums[layer] = seen.clone() if known is None else known + seen
        return z
