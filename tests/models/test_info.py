"""What a model says of itself."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformer_lens.model_bridge.sources import build_bridge_from_module

from retrieval_lens.models import context_length, eos_token_ids, load_model, model_info
from tests.tiny_models import FAMILIES, tiny_bridge, tiny_hf


@pytest.mark.parametrize("family", FAMILIES)
def test_info_of_every_family(family):
    info = model_info(tiny_bridge(family))
    assert json.loads(json.dumps(info)) == info
    shape = {key: info[key] for key in ("n_layers", "n_heads", "d_model", "n_ctx")}
    assert shape == {"n_layers": 3, "n_heads": 4, "d_model": 64, "n_ctx": 256}
    grouped = family not in ("llama-mha", "gpt2", "gpt-neox")
    assert info["n_key_value_heads"] == (2 if grouped else 4)
    assert info["d_head"] == (24 if family == "qwen3" else 16)
    assert (info["dtype"], info["device"], info["source"]) == ("float32", "cpu", "hf_model")
    mixed = ["sliding_attention", "full_attention", "sliding_attention"]
    assert info["attention"] == (mixed if family == "gemma3" else None)
    assert set(info["versions"]) == {"torch", "transformers", "transformer_lens"}


def test_info_of_a_bridge_booted_by_hand():
    hf = tiny_hf("qwen2")
    bridge = build_bridge_from_module(hf, "Qwen2ForCausalLM", hf_config=hf.config)
    info = model_info(bridge)
    assert (info["source"], info["architecture"]) == ("user", "Qwen2ForCausalLM")
    assert info["weights_sha256"] is None


def test_dtype_is_that_of_the_weights():
    bridge = load_model(hf_model=tiny_hf("llama-gqa").to(torch.bfloat16), check=False)
    assert model_info(bridge)["dtype"] == "bfloat16"


def test_context_length_unknown():
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(hidden_size=4))
    bridge = SimpleNamespace(original_model=SimpleNamespace(config=config))
    assert context_length(bridge) is None


def test_eos_is_the_union_of_three_files(tokenizer):
    bridge = load_model(hf_model=tiny_hf("llama-gqa"), tokenizer=tokenizer, check=False)
    assert eos_token_ids(bridge) == (2,)
    bridge.original_model.generation_config.eos_token_id = [9, 5]
    bridge.original_model.config.eos_token_id = 7
    assert eos_token_ids(bridge) == (2, 5, 7, 9)


def test_eos_may_be_unknown():
    bridge = tiny_bridge("llama-gqa")
    bridge.original_model.generation_config.eos_token_id = None
    bridge.original_model.config.eos_token_id = None
    assert eos_token_ids(bridge) == ()
