"""Prove at load time that a model's attention can be read and edited.

1. A fixed prompt of 12 tokens runs once; every layer's attention must come by, with one row for
   each head and token that is finite, looks at no later token, and sums to 1.
2. The prompt runs again without reading anything: the logits' repeat noise.
3. The first, the middle and the last attention layer are silenced at `hook_z`, one at a time, and
   a single head of the middle one: each time the logits must move by more than that noise.

Families that compute attention elsewhere show plausible patterns and ignore edits; a score or an
ablation of them would be a number without a meaning.

Source: nnterp proves its models alike, https://github.com/Butanium/nnterp
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from retrieval_lens.errors import UnsupportedModelError
from retrieval_lens.models import hook_names
from retrieval_lens.models.attached import clear_kept_patterns, user_hooks

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

__all__ = ["clear_kept_patterns", "prove_attention", "user_hooks"]

_N_TOKENS = 12
_ADVICE = "TransformerLens cannot trace this model; use another, or load it with check=False"


def prove_attention(bridge: "TransformerBridge") -> None:
    """Refuse a model whose attention cannot be read and edited; leaves no hook behind.

    Args:
        bridge: The model; its weights stay as they are.

    Raises:
        UnsupportedModelError: With the layer, the figure, and what to do.
    """
    import torch

    from retrieval_lens.models.rows import distance

    layers = hook_names.attention_layers(bridge)
    try:
        # Not inference_mode: what a family caches in a forward pass must stay good for autograd.
        with torch.no_grad():
            read = _read_patterns(bridge, layers)
            plain = _logits(bridge, [])
            if not torch.isfinite(plain).all():
                raise UnsupportedModelError(
                    f"the logits of {bridge.cfg.model_name} hold NaN or infinity in {plain.dtype}; "
                    "try dtype='bfloat16' or 'float32'"
                )
            noise = distance(plain, read)
            for layer in sorted({layers[0], layers[len(layers) // 2], layers[-1]}):
                _prove_edit(bridge, layer, range(bridge.cfg.n_heads), plain, noise)
            _prove_one_head(bridge, layers[len(layers) // 2], plain, noise)
    finally:
        clear_kept_patterns(bridge)


def _logits(bridge: "TransformerBridge", hooks: list[tuple[str, Callable[..., Any]]]) -> "Tensor":
    """Logits of the fixed prompt, with hooks for the while."""
    import torch

    vocabulary = _vocabulary(bridge)
    ids = torch.arange(_N_TOKENS, device=bridge.cfg.device)[None] * 101 + 5
    with bridge.hooks(fwd_hooks=hooks):
        return bridge(ids % vocabulary, return_type="logits").float()


def _vocabulary(bridge: "TransformerBridge") -> int:
    """How many token ids the embedding knows."""
    model: Any = bridge.original_model
    return model.get_input_embeddings().weight.shape[0]


def _read_patterns(bridge: "TransformerBridge", layers: list[int]) -> "Tensor":
    """Check every layer's attention while the prompt runs; the logits of that run."""
    from retrieval_lens.models.rows import row_fault

    faults: dict[int, str | None] = {}
    wanted = (1, bridge.cfg.n_heads, _N_TOKENS, _N_TOKENS)

    def reader(layer: int) -> Callable[..., None]:
        def look(pattern: Any, hook: Any) -> None:
            shape = tuple(pattern.shape)
            wrong = f"its attention has the shape {shape}, wanted {wanted}"
            faults[layer] = row_fault(pattern) if shape == wanted else wrong

        return look

    logits = _logits(bridge, [(hook_names.pattern(layer), reader(layer)) for layer in layers])
    for layer in layers:
        fault = faults.get(layer, "its attention never comes by: the hook does not fire")
        if fault is not None:
            raise UnsupportedModelError(
                f"{bridge.cfg.model_name}, layer {layer}: {fault}. {_ADVICE}"
            )
    return logits


def _effect(bridge: "TransformerBridge", layer: int, heads: Any, plain: "Tensor") -> float:
    """How far the logits move when heads of a layer are silenced at `hook_z`."""
    from retrieval_lens.models.rows import distance

    def silence(z: Any, hook: Any) -> Any:
        edited = z.clone()
        edited[:, :, list(heads)] = 0
        return edited

    return distance(_logits(bridge, [(hook_names.z(layer), silence)]), plain)


def _prove_edit(
    bridge: "TransformerBridge", layer: int, heads: Any, plain: "Tensor", noise: float
) -> None:
    """Refuse a layer whose silencing leaves the logits where they were."""
    effect = _effect(bridge, layer, heads, plain)
    if not effect > noise:
        raise UnsupportedModelError(
            f"{bridge.cfg.model_name}, layer {layer}: silencing all heads at "
            f"{hook_names.z(layer)} moves the logits by {effect:.3g}, not more than a repeat does "
            f"({noise:.3g}). {_ADVICE}"
        )


def _prove_one_head(bridge: "TransformerBridge", layer: int, plain: "Tensor", noise: float) -> None:
    """Refuse a layer of which no single head can be silenced."""
    heads = range(bridge.cfg.n_heads)
    if not any(_effect(bridge, layer, [head], plain) > noise for head in heads):
        raise UnsupportedModelError(
            f"{bridge.cfg.model_name}, layer {layer}: silencing any one head at "
            f"{hook_names.z(layer)} moves the logits no more than a repeat does ({noise:.3g}). "
            f"{_ADVICE}"
        )
