"""Models that cannot be read or edited are refused, with the layer; the proof leaves no trace."""

import pytest
import torch

from retrieval_lens.errors import UnsupportedModelError
from retrieval_lens.models import hook_names, load_model, prove_attention, user_hooks
from retrieval_lens.models.rows import distance, row_fault
from tests.tiny_models import FAMILIES, tiny_bridge, tiny_hf


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_passes_and_nothing_is_left(family):
    bridge = tiny_bridge(family)
    before = {name: value.clone() for name, value in bridge.original_model.state_dict().items()}
    prove_attention(bridge)
    assert user_hooks(bridge) == []
    assert not any(point.fwd_hooks for point in bridge.hook_dict.values())
    assert all(vars(module).get("_pattern") is None for module in bridge.modules())
    after = bridge.original_model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    bridge(torch.arange(8)[None]).sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_pass(dtype):
    prove_attention(load_model(hf_model=tiny_hf("llama-gqa").to(dtype), check=False))


def refused(bridge, match):
    with pytest.raises(UnsupportedModelError, match=match):
        prove_attention(bridge)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda rows: rows * 0.98, r"layer 1: its attention rows miss a sum of 1 by up to 0\.02"),
        (lambda rows: rows * torch.nan, "layer 1: its attention holds NaN"),
        (lambda rows: torch.full_like(rows, 1 / 12), "layer 1: it attends to later tokens"),
    ],
)
def test_wrong_attention_is_refused(edit, match):
    bridge = tiny_bridge("llama-gqa")
    point = bridge.hook_dict[hook_names.pattern(1)]
    point.register_forward_hook(lambda module, args, output: edit(output))
    refused(bridge, match)
    assert not any(point.fwd_hooks for point in bridge.hook_dict.values())


def test_attention_of_another_shape_is_refused():
    bridge = tiny_bridge("llama-gqa")
    bridge.cfg.n_heads = 5
    refused(bridge, r"layer 0: its attention has the shape \(1, 4, 12, 12\), wanted \(1, 5, 12")


def test_attention_that_never_comes_by_is_refused(monkeypatch):
    bridge = tiny_bridge("llama-gqa")
    hooks = bridge.hooks

    def without_last(fwd_hooks=()):
        return hooks([pair for pair in fwd_hooks if pair[0] != hook_names.pattern(2)])

    monkeypatch.setattr(bridge, "hooks", without_last)
    refused(bridge, "layer 2: its attention never comes by")


def undo_edits(bridge, layer, heads):
    """Make edits of some heads at `hook_z` of a layer go nowhere."""
    point, kept = bridge.blocks[layer].attn.o.hook_in, {}
    point.register_forward_pre_hook(lambda module, args: kept.update(z=args[0]))

    def undo(module, args, output):
        restored = output.clone()
        restored.unflatten(-1, (4, 16))[:, :, heads] = kept["z"].unflatten(-1, (4, 16))[:, :, heads]
        return restored

    # Torch runs hooks in the order of their registration; ours must be the last.
    register = point.register_forward_hook

    def last(hook, **options):
        handle = register(hook, **options)
        for key in [key for key, one in point._forward_hooks.items() if one is undo]:
            del point._forward_hooks[key]
        register(undo)
        return handle

    point.register_forward_hook = last


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_edits_without_effect_are_refused(layer):
    bridge = tiny_bridge("llama-mha")
    undo_edits(bridge, layer, [0, 1, 2, 3])
    refused(bridge, f"layer {layer}: silencing all heads at blocks.{layer}.attn.hook_z moves")


def test_single_heads_without_effect_are_refused(monkeypatch):
    from retrieval_lens.models import checks

    effect = checks._effect

    def all_or_nothing(bridge, layer, heads, plain):
        return effect(bridge, layer, heads, plain) if len(heads) == 4 else 0.0

    monkeypatch.setattr(checks, "_effect", all_or_nothing)
    refused(tiny_bridge("llama-mha"), "layer 1: silencing any one head")


def test_one_head_that_does_nothing_is_no_reason_to_refuse():
    hf = tiny_hf("llama-mha")
    for block in hf.model.layers:
        block.self_attn.o_proj.weight.data[:, :16] = 0
    prove_attention(load_model(hf_model=hf, check=False))


def test_logits_that_are_not_finite_are_refused():
    hf = tiny_hf("llama-gqa")
    hf.lm_head.weight.data[3] = torch.inf
    refused(load_model(hf_model=hf, check=False), "logits of LlamaForCausalLM hold NaN or inf")


def test_the_hooks_go_when_the_forward_pass_breaks(monkeypatch):
    bridge = tiny_bridge("llama-gqa")

    def broken(*args, **kwargs):
        raise RuntimeError("out of memory")

    handle = bridge.original_model.model.layers[1].register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        prove_attention(bridge)
    handle.remove()
    assert user_hooks(bridge) == []
    assert not any(point.fwd_hooks for point in bridge.hook_dict.values())


def test_load_model_proves_unless_told_not_to(monkeypatch):
    from retrieval_lens.models import checks

    def refuse(bridge):
        raise UnsupportedModelError("asked")

    monkeypatch.setattr(checks, "prove_attention", refuse)
    load_model(hf_model=tiny_hf("gpt2"), check=False)
    with pytest.raises(UnsupportedModelError, match="asked"):
        load_model(hf_model=tiny_hf("gpt2"))


def test_half_precision_rows_may_be_off_by_two_hundredths():
    rows = torch.eye(4)[None, None]
    assert row_fault(rows) is None
    assert row_fault(rows * 0.9995) is None
    assert "miss a sum of 1" in row_fault(rows * 0.998)
    assert row_fault((rows * 0.99).to(torch.bfloat16)) is None
    assert "miss a sum of 1" in row_fault((rows * 0.97).to(torch.bfloat16))


def test_distance():
    one = torch.zeros(1, 2, 3)
    assert distance(one, one - torch.tensor([0.0, 0.5, 0.25])) == 0.5
