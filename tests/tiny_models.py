"""Tiny random models of nine families, with attention far from uniform. No network, no files."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

VOCABULARY, N_LAYERS, N_HEADS, D_MODEL, N_CTX, WINDOW = 199, 3, 4, 64, 256, 16
# Large weights: with the usual 0.02 a random model attends to everything alike.
_SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": D_MODEL,
    "intermediate_size": 96,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": N_HEADS,
    "max_position_embeddings": N_CTX,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama-gqa": lambda: LlamaConfig(num_key_value_heads=2, **_SHARED),
    "llama-mha": lambda: LlamaConfig(num_key_value_heads=4, **_SHARED),
    "qwen2": lambda: Qwen2Config(num_key_value_heads=2, **_SHARED),
    "qwen3": lambda: Qwen3Config(num_key_value_heads=2, head_dim=24, **_SHARED),
    "phi3": lambda: Phi3Config(num_key_value_heads=2, **_SHARED),
    "mistral": lambda: MistralConfig(num_key_value_heads=2, sliding_window=WINDOW, **_SHARED),
    "gemma3": lambda: Gemma3TextConfig(
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        **_SHARED,
    ),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=D_MODEL,
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        n_positions=N_CTX,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "gpt-neox": lambda: GPTNeoXConfig(**_SHARED),
}


def tiny_hf(family: str, seed: int = 0) -> Any:
    """A transformers model; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(FAMILIES[family]()).eval()


def tiny_bridge(family: str, seed: int = 0) -> Any:
    """The same model as a bridge, without a tokenizer."""
    from retrieval_lens.models.loading import load_model

    return load_model(hf_model=tiny_hf(family, seed), check=False)


def longrope_config() -> Any:
    """A tiny Phi-3 whose rotary factors change at position 64."""
    return Phi3Config(
        vocab_size=199, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        original_max_position_embeddings=64, pad_token_id=0, initializer_range=0.3,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0,
            "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
            "original_max_position_embeddings": 64,
        },
    )  # fmt: skip
