"""Each name is where the activation of that meaning passes, compared with plain transformers."""

from types import SimpleNamespace

import pytest
import torch

from retrieval_lens.errors import InputError, UnsupportedModelError
from retrieval_lens.models import attention_layers, hook_names, layer_of
from tests.tiny_models import FAMILIES, N_LAYERS, VOCABULARY, tiny_bridge, tiny_hf

IDS = torch.randint(0, VOCABULARY, (1, 24), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_names_carry_what_transformers_computes(family):
    bridge, reference = tiny_bridge(family), tiny_hf(family)
    reference.set_attn_implementation("eager")
    seen = {}
    names = [hook_names.EMBED_IN, hook_names.FINAL_NORM_IN, hook_names.FINAL_NORM_OUT]
    names += [hook_names.UNEMBED_OUT]
    for layer in attention_layers(bridge):
        names += [hook_names.pattern(layer), hook_names.z(layer)]
        names += [hook_names.resid_pre(layer), hook_names.resid_post(layer)]

    def keep(name):
        return lambda value, hook: seen.__setitem__(name, value.detach().clone())

    with torch.no_grad(), bridge.hooks(fwd_hooks=[(name, keep(name)) for name in names]):
        bridge(IDS)
        wanted = reference(IDS, output_attentions=True, output_hidden_states=True)
    assert set(seen) == set(names)
    torch.testing.assert_close(seen[hook_names.EMBED_IN], IDS)
    torch.testing.assert_close(seen[hook_names.UNEMBED_OUT], wanted.logits, atol=5e-5, rtol=0)
    close = {"atol": 2e-5, "rtol": 1e-5}
    torch.testing.assert_close(
        seen[hook_names.FINAL_NORM_OUT], wanted.hidden_states[N_LAYERS], **close
    )
    last = seen[hook_names.resid_post(N_LAYERS - 1)]
    torch.testing.assert_close(seen[hook_names.FINAL_NORM_IN], last, **close)
    for layer in range(N_LAYERS):
        stream = seen[hook_names.resid_pre(layer)]
        torch.testing.assert_close(stream, wanted.hidden_states[layer], **close)
        weights = seen[hook_names.pattern(layer)]
        torch.testing.assert_close(weights, wanted.attentions[layer], **close)
        assert seen[hook_names.z(layer)].shape[:3] == (1, 24, 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_far_from_uniform(family):
    bridge = tiny_bridge(family)
    _, cache = bridge.run_with_cache(IDS, names_filter=hook_names.pattern(1))
    strongest = cache[hook_names.pattern(1)][0, :, -1].max(-1).values
    assert strongest.mean() > 3 / 24


def test_layers_with_attention_are_found():
    assert attention_layers(tiny_bridge("gpt2")) == [0, 1, 2]


def test_layers_without_attention_are_left_out():
    hybrid = SimpleNamespace(
        cfg=SimpleNamespace(n_layers=4, model_name="hybrid"),
        hook_dict={hook_names.pattern(1): None, hook_names.pattern(3): None},
    )
    assert attention_layers(hybrid) == [1, 3]


def test_a_model_without_attention_is_refused():
    recurrent = SimpleNamespace(cfg=SimpleNamespace(n_layers=2, model_name="mamba"), hook_dict={})
    with pytest.raises(UnsupportedModelError, match="no attention pattern in mamba"):
        attention_layers(recurrent)


def test_layer_of():
    assert layer_of(hook_names.resid_post(9)) == 9
    assert layer_of(hook_names.z(12)) == 12
    for name in (hook_names.FINAL_NORM_OUT, "blocks.x.hook_out", "my.blocks.3.hook_out"):
        with pytest.raises(InputError, match="belongs to no layer"):
            layer_of(name)
