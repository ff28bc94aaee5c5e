"""The one place where a TransformerLens hook name is spelled.

| function or constant | what passes there | shape |
|---|---|---|
| `pattern(layer)` | attention after softmax | `batch head query_pos key_pos` |
| `attn_scores(layer)` | attention before softmax, masked | `batch head query_pos key_pos` |
| `z(layer)` | what each head read, before the output projection | `batch pos head d_head` |
| `resid_pre(layer)`, `resid_post(layer)` | residual stream around a block | `batch pos d_model` |
| `FINAL_NORM_IN`, `FINAL_NORM_OUT` | around the norm before the logits | `batch pos d_model` |
| `EMBED_IN` | token ids, as the model receives them | `batch pos` |
| `UNEMBED_OUT` | logits, before any soft-capping of the family | `batch pos vocabulary` |

Inside a hook on `z(layer)` the hook point calls itself `blocks.L.attn.o.hook_in`: close over the
layer, do not read it from `hook.name`.

Source: https://transformerlensorg.github.io/TransformerLens/
"""

import re
from typing import TYPE_CHECKING

from retrieval_lens.errors import InputError, UnsupportedModelError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

EMBED_IN = "embed.hook_in"
FINAL_NORM_IN = "ln_final.hook_in"
FINAL_NORM_OUT = "ln_final.hook_out"
UNEMBED_OUT = "unembed.hook_out"

_BLOCK = re.compile(r"blocks\.(\d+)\.")


def pattern(layer: int) -> str:
    """Hook name of a layer's attention pattern, `batch head query_pos key_pos`."""
    return f"blocks.{layer}.attn.hook_pattern"


def attn_scores(layer: int) -> str:
    """Hook name of a layer's masked scores before softmax, `batch head query_pos key_pos`."""
    return f"blocks.{layer}.attn.hook_attn_scores"


def z(layer: int) -> str:
    """Hook name of a layer's head outputs before mixing, `batch pos head d_head`."""
    return f"blocks.{layer}.attn.hook_z"


def resid_pre(layer: int) -> str:
    """Hook name of the residual stream that enters a block, `batch pos d_model`."""
    return f"blocks.{layer}.hook_in"


def resid_post(layer: int) -> str:
    """Hook name of the residual stream that leaves a block, `batch pos d_model`."""
    return f"blocks.{layer}.hook_out"


def layer_of(name: str) -> int:
    """The layer that a hook name belongs to.

    Raises:
        InputError: The name is not one of a block.

    >>> layer_of("blocks.9.hook_out")
    9
    """
    match = _BLOCK.match(name)
    if match is None:
        raise InputError(
            f"hook name {name!r} belongs to no layer; wanted a name like {resid_post(9)!r}"
        )
    return int(match[1])


def attention_layers(bridge: "TransformerBridge") -> list[int]:
    """The layers that have attention, in order; hybrid models have fewer of them than blocks.

    Args:
        bridge: The model.

    Raises:
        UnsupportedModelError: No layer of the model has an attention pattern.
    """
    hooks = bridge.hook_dict
    layers = [layer for layer in range(bridge.cfg.n_layers) if pattern(layer) in hooks]
    if not layers:
        raise UnsupportedModelError(
            f"no attention pattern in {bridge.cfg.model_name}: wanted hook points like "
            f"{pattern(0)!r}; only models with softmax attention have retrieval heads"
        )
    return layers
