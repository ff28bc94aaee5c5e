"""The plain transformers model inside a bridge, without the bridge's wrappers.

1. Copy the module tree that the bridge has wrapped, sharing every parameter and buffer (the copy
   owns no weights).
2. In the copy put back the original module wherever the bridge had put a component of its own.
3. Give it the attention function of the fast engine; the bridge keeps its own configuration.

The twin computes what the bridge computes, bit for bit, at a fraction of the Python calls. It does
not see hooks on the bridge: whoever uses it asks `user_hooks` first.
"""

import copy
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

_TWINS: "WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], Any]]" = WeakKeyDictionary()


def twin_of(bridge: Any) -> Any:
    """The twin of `bridge`, made anew when a parameter or buffer was replaced or moved."""
    tensors = _tensors(bridge.original_model)
    fingerprint = tuple(x for tensor in tensors for x in (id(tensor), tensor.data_ptr()))
    known = _TWINS.get(bridge)
    if known is None or known[0] != fingerprint:
        known = (fingerprint, _make(bridge.original_model, tensors))
        _TWINS[bridge] = known
    return known[1]


def weights_version(bridge: Any) -> tuple[float, ...]:
    """Changes when any parameter or buffer is replaced, moved or edited in place.

    Where the bridge holds a copy (query, key and value split out of a joint matrix), the twin does
    not share it, and an edit through `.data` leaves no other sign: its values count too.
    """
    shared = {tensor.data_ptr() for tensor in _tensors(twin_of(bridge))}
    every = _tensors(bridge.original_model)
    copies = [t for t in every if t.data_ptr() not in shared and t.is_floating_point()]
    places = [x for t in every for x in (id(t), t.data_ptr())]
    edits = [0 if t.is_inference() else t._version for t in every]
    values = [x for p in copies for x in (p.detach().sum(), p.detach().norm())]
    return tuple(float(x) for x in (*places, *edits, *values))


def _tensors(model: nn.Module) -> list[Any]:
    found: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                found[id(tensor)] = tensor
    return list(found.values())


def _make(model: nn.Module, tensors: list[Any]) -> Any:
    from retrieval_lens.tracing.fast_attention import NAME, register

    register()
    twin: Any = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    _unwrap(twin)
    twin.eval()
    twin.set_attn_implementation(NAME)
    return twin


def _unwrap(module: nn.Module) -> None:
    from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent

    for name, child in list(module._modules.items()):
        while isinstance(child, GeneralizedComponent):
            child = child.original_component
        module._modules[name] = child
        if child is not None:
            _unwrap(child)
