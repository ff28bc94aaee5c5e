"""What hangs on a model now: hooks that the user has attached, patterns that it has kept.

A fast path that runs the same weights in another module tree does not see hooks on the bridge, so
it must know of them. TransformerLens and transformers attach hooks of their own, at boot and in the
first forward pass; those do not count.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge import TransformerBridge

# Where TransformerLens and transformers define the hooks that they attach for themselves.
_WIRING = "transformer_lens.model_bridge.component_setup"
_LIBRARIES = (
    "transformer_lens.model_bridge.generalized_components.",
    "transformer_lens.model_bridge.supported_architectures.",
    "transformers.utils.output_capturing",
)


def user_hooks(bridge: "TransformerBridge") -> list[str]:
    """Where a forward pass would run hooks that are not a library's own.

    Args:
        bridge: The model.

    Returns:
        Sorted names: of hook points, and of modules with plain torch forward hooks or forward
        pre-hooks. Backward hooks do not change a forward pass and are left out.
    """
    from transformer_lens.hook_points import HookPoint

    found = set()
    for name, module in _all_modules(bridge):
        if isinstance(module, HookPoint):
            if _on_hook_point(module):
                found.add(module.name or name)
        elif any(not _is_wiring(hook) for hook in _torch_hooks(module)):
            found.add(name)
    return sorted(found)


def clear_kept_patterns(bridge: "TransformerBridge") -> None:
    """Let go of the attention patterns that some families keep after a forward pass.

    Args:
        bridge: The model. GPT-2, GPT-NeoX and Phi-3 keep `n_layers * n_heads * n * n` weights.
    """
    for module in bridge.modules():
        if vars(module).get("_pattern") is not None:
            vars(module)["_pattern"] = None


def _all_modules(bridge: "TransformerBridge") -> Iterator[tuple[str, "nn.Module"]]:
    """Every module once, those outside the bridge's own tree as `original_model…`."""
    seen = set()
    for name, module in bridge.named_modules():
        seen.add(id(module))
        yield name or "bridge", module
    for name, module in bridge.original_model.named_modules():
        if id(module) not in seen:
            yield f"original_model.{name}".rstrip("."), module


def _torch_hooks(module: "nn.Module") -> list[Callable[..., Any]]:
    """The forward hooks and forward pre-hooks that torch would run."""
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def _on_hook_point(point: "HookPoint") -> bool:
    """Whether a hook point runs anything of the user's."""
    wrapped = {handle.hook.id for handle in point.fwd_hooks}
    plain = [key for key in point._forward_hooks if key not in wrapped]
    added = [handle for handle in point.fwd_hooks if not _is_mirror(handle)]
    return bool(plain or added or point._forward_pre_hooks)


def _is_mirror(handle: Any) -> bool:
    """Whether TransformerLens has added this hook to pass activations to a placeholder."""
    return handle.is_permanent and getattr(handle.user_hook, "__module__", "") == _WIRING


def _is_wiring(hook: Callable[..., Any]) -> bool:
    """Whether a library has registered this torch hook for its own use."""
    return str(getattr(hook, "__module__", "")).startswith(_LIBRARIES)
