"""Hooks of the user are seen, hooks of the libraries are not; kept patterns are let go."""

import functools
from types import SimpleNamespace

import pytest
import torch
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge.component_setup import _wire_symbolic_hooks

from retrieval_lens.models import clear_kept_patterns, hook_names, user_hooks
from tests.tiny_models import FAMILIES, tiny_bridge

IDS = torch.arange(9)[None]


def nothing(*args, **kwargs):
    """A hook of any kind that changes nothing."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_used_bridge_has_no_user_hooks(family):
    bridge = tiny_bridge(family)
    assert user_hooks(bridge) == []
    bridge(IDS)
    bridge.run_with_cache(IDS)
    bridge.original_model.generate(IDS, max_new_tokens=2, do_sample=False, pad_token_id=0)
    bridge.original_model(IDS, output_attentions=True)
    assert user_hooks(bridge) == []


def test_hooks_on_hook_points():
    bridge = tiny_bridge("llama-gqa")
    with bridge.hooks(fwd_hooks=[(hook_names.pattern(1), nothing), (hook_names.z(2), nothing)]):
        assert user_hooks(bridge) == ["blocks.1.attn.hook_pattern", "blocks.2.attn.o.hook_in"]
    assert user_hooks(bridge) == []
    bridge.add_perma_hook(hook_names.FINAL_NORM_OUT, nothing)
    bridge.add_hook(hook_names.FINAL_NORM_IN, functools.partial(nothing, 1))
    assert user_hooks(bridge) == [hook_names.FINAL_NORM_IN, hook_names.FINAL_NORM_OUT]


def test_backward_hooks_do_not_count():
    bridge = tiny_bridge("llama-gqa")
    bridge.add_hook(hook_names.FINAL_NORM_OUT, nothing, dir="bwd")
    assert user_hooks(bridge) == []


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_plain_torch_hooks(register):
    bridge = tiny_bridge("llama-gqa")
    model = bridge.original_model
    places = {
        "original_model": model,
        "original_model.model": model.model,
        "blocks.1._original_component.self_attn._original_component.q_proj."
        "_original_component": bridge.blocks[1].attn.q.original_component,
        "blocks.0.hook_in": bridge.blocks[0].hook_in,
        "bridge": bridge,
    }
    for name, module in places.items():
        handle = getattr(module, register)(nothing)
        assert user_hooks(bridge) == [name]
        handle.remove()
    assert user_hooks(bridge) == []


def test_the_wiring_of_placeholders_does_not_count():
    part = SimpleNamespace(hook_in=HookPoint(), hook_out=HookPoint())
    placeholder = SimpleNamespace(
        submodules={"in": part, "out": part}, hook_in=HookPoint(), hook_out=HookPoint()
    )
    _wire_symbolic_hooks(placeholder)
    root = torch.nn.ModuleDict({"a": part.hook_in, "b": part.hook_out})
    bridge = SimpleNamespace(named_modules=root.named_modules, original_model=torch.nn.Identity())
    assert len(part.hook_in.fwd_hooks) == 1
    assert user_hooks(bridge) == []
    part.hook_out.add_hook(nothing)
    assert user_hooks(bridge) == ["b"]


@pytest.mark.parametrize("family", FAMILIES)
def test_kept_patterns_are_let_go(family):
    bridge = tiny_bridge(family)
    before = bridge(IDS)
    kept = [module for module in bridge.modules() if vars(module).get("_pattern") is not None]
    assert bool(kept) == (family in ("phi3", "gpt2", "gpt-neox"))
    clear_kept_patterns(bridge)
    assert all(vars(module).get("_pattern") is None for module in bridge.modules())
    torch.testing.assert_close(bridge(IDS), before, atol=0, rtol=0)
