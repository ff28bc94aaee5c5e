"""Models to measure: the embedded one, or the shape of a large one with random weights."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

import retrieval_lens as rl

SHAPES = {
    "llama-3.1-8b-shape": LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        bos_token_id=128000,
        eos_token_id=128001,
        tie_word_embeddings=False,
    ),
}


def load(name: str, device: str, dtype: str) -> tuple[Any, Any]:
    """A bridge, and a plain transformers model of the same weights beside it."""
    if name in SHAPES:
        torch.manual_seed(0)
        with torch.device(device):
            plain = AutoModelForCausalLM.from_config(SHAPES[name], dtype=getattr(torch, dtype))
            wrapped = AutoModelForCausalLM.from_config(SHAPES[name], dtype=getattr(torch, dtype))
        wrapped.load_state_dict(plain.state_dict(), assign=True)
        return rl.load_model(hf_model=wrapped.eval()), plain.eval()
    bridge = rl.load_model(name, device=device, dtype=dtype)
    folder = rl.models.checkpoint_folder(name) if name in rl.models.checkpoint_names() else name
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    return bridge, plain.to(device).eval()


def example(bridge: Any, n_tokens: int, seed: int = 0) -> rl.RetrievalExample:
    """A needle prompt of exactly `n_tokens`, or random tokens for a model without a tokenizer."""
    if bridge.tokenizer is None:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(5, 100_000, (n_tokens,), generator=generator)
        middle = n_tokens // 2
        return rl.RetrievalExample(
            f"random-{n_tokens}", "", ids, torch.arange(middle, middle + 40), ()
        )
    size = n_tokens - 110
    while True:
        made = rl.needle_example(bridge.tokenizer, size, 0.5, seed)
        missing = n_tokens - len(made.token_ids)
        if missing <= 0:
            return made
        size += missing
