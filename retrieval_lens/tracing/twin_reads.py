"""Where the plain twin can be read in place of a hook on the bridge."""

from collections.abc import Sequence
from typing import Any

from retrieval_lens.errors import InputError
from retrieval_lens.models import hook_names


def twin_module(bridge: Any, twin: Any, name: str) -> tuple[Any, bool]:
    """The twin's module behind a hook name, and whether the hook is at its input.

    Raises:
        InputError: The twin cannot be read there.
    """
    mapping = bridge.adapter.component_mapping
    if name in (hook_names.FINAL_NORM_IN, hook_names.FINAL_NORM_OUT):
        return twin.get_submodule(mapping["ln_final"].name), name == hook_names.FINAL_NORM_IN
    if reads_on_twin(name):
        layer = hook_names.layer_of(name)
        module = twin.get_submodule(f"{mapping['blocks'].name}.{layer}")
        return module, name == hook_names.resid_pre(layer)
    raise InputError(
        f"the fast engine reads hidden states at {hook_names.FINAL_NORM_IN}, "
        f"{hook_names.FINAL_NORM_OUT}, {hook_names.resid_pre(0)} and {hook_names.resid_post(0)} "
        f"(any layer), not at {name!r}; use engine='hooks'"
    )


def reads_on_twin(name: str) -> bool:
    """Whether the fast engine can read hidden states at this hook name."""
    if name in (hook_names.FINAL_NORM_IN, hook_names.FINAL_NORM_OUT):
        return True
    if not name.startswith("blocks."):
        return False
    layer = hook_names.layer_of(name)
    return name in (hook_names.resid_pre(layer), hook_names.resid_post(layer))


def require_hook_names(bridge: Any, names: Sequence[str]) -> None:
    """Refuse hook names that the model does not have.

    Raises:
        InputError: With the first of them.
    """
    unknown = [name for name in names if name not in bridge.hook_dict]
    if unknown:
        raise InputError(f"the model has no hook {unknown[0]!r}; see model.hook_dict")
