"""What a model is: labels for results, context length, end-of-sequence tokens.

Everything is read from the bridge itself, so it works for bridges that were booted without
`load_model` too; those have the source `user`.
"""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


_N_FIRST = 64


@dataclass(frozen=True)
class Provenance:
    """Where the weights of a bridge came from.

    Attributes:
        name: The name, folder or Hub id that was asked for.
        source: `checkpoint`, `folder`, `hub`, `hf_model` or `user`.
        revision: Commit or tag, where there is one.
        weights_sha256: Digest of the weights file, where it was computed.
    """

    name: str
    source: str
    revision: str | None = None
    weights_sha256: str | None = None


_PROVENANCE: "WeakKeyDictionary[Any, Provenance]" = WeakKeyDictionary()


def remember(bridge: "TransformerBridge", provenance: Provenance) -> None:
    """Note where a bridge came from, for as long as the bridge lives."""
    _PROVENANCE[bridge] = provenance


def provenance_of(bridge: "TransformerBridge") -> Provenance:
    """What was noted about a bridge, or what the bridge says of itself."""
    return _PROVENANCE.get(bridge) or Provenance(str(bridge.cfg.model_name), "user")


def _text_config(bridge: "TransformerBridge") -> Any:
    """The transformers configuration of the language model (a part of it in multimodal ones)."""
    config: Any = bridge.original_model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def context_length(bridge: "TransformerBridge") -> int | None:
    """The longest prompt plus response, in tokens, that the model was made for.

    Args:
        bridge: The model.

    Returns:
        Tokens, or None where the configuration names no limit.
    """
    config = _text_config(bridge)
    for field in ("max_position_embeddings", "n_positions", "max_seq_len"):
        length = getattr(config, field, None)
        if isinstance(length, int) and length > 0:
            return length
    return None


def _as_ids(value: Any) -> set[int]:
    """Token ids from a single id, a list of them, or nothing."""
    if value is None:
        return set()
    return {int(one) for one in value} if isinstance(value, (list, tuple)) else {int(value)}


def eos_token_ids(bridge: "TransformerBridge") -> tuple[int, ...]:
    """Every token that ends a response, sorted.

    Chat models end a turn with another token than a text, and name the two in different files:
    the union of the generation configuration, the configuration and the tokenizer is taken.

    Args:
        bridge: The model.
    """
    model = bridge.original_model
    generation = getattr(model, "generation_config", None)
    found = _as_ids(getattr(generation, "eos_token_id", None))
    found |= _as_ids(getattr(_text_config(bridge), "eos_token_id", None))
    found |= _as_ids(getattr(bridge.tokenizer, "eos_token_id", None))
    return tuple(sorted(found))


def _attention_kinds(bridge: "TransformerBridge") -> list[str] | None:
    """The kind of every layer, where the layers are not all of one kind."""
    kinds = getattr(_text_config(bridge), "layer_types", None)
    return list(kinds) if kinds and len(set(kinds)) > 1 else None


def model_info(bridge: "TransformerBridge") -> dict[str, Any]:
    """What a result needs to know of its model; made of JSON types only.

    Args:
        bridge: The model, from `load_model` or booted by hand.

    Returns:
        name, source, revision, weights_sha256, architecture, n_layers, n_heads,
        n_key_value_heads, d_model, d_head, n_ctx (tokens), attention (the kind of each layer,
        where they differ), dtype, device, and the versions of the libraries.
    """
    cfg, parameter = bridge.cfg, next(bridge.original_model.parameters())
    known = provenance_of(bridge)
    return {
        "name": known.name,
        "source": known.source,
        "revision": known.revision,
        "weights_sha256": known.weights_sha256,
        "architecture": str(cfg.architecture),
        "n_layers": int(cfg.n_layers),
        "n_heads": int(cfg.n_heads),
        "n_key_value_heads": int(cfg.n_key_value_heads or cfg.n_heads),
        "d_model": int(cfg.d_model),
        "d_head": int(cfg.d_head),
        "n_ctx": context_length(bridge),
        "attention": _attention_kinds(bridge),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "device": str(parameter.device),
        "versions": {name: version(name) for name in ("torch", "transformers", "transformer_lens")},
    }


def weights_fingerprint(bridge: "TransformerBridge") -> str:
    """Tells weights apart: a digest of the first numbers of every parameter, on any device."""
    import torch

    digest = hashlib.sha256()
    for parameter in bridge.original_model.parameters():
        first = parameter.detach().flatten()[:_N_FIRST].cpu().contiguous()
        digest.update(first.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
