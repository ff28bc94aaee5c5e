"""Which engine runs, and the proof that the fast one may.

The fast engine runs where (1) no hook of the user's is on the bridge, (2) the hidden states asked
for can be read on the plain modules, and (3) on this very model, both engines have given the same
attention rows, hidden states and logits for a short prompt. The proof holds until the weights
change.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from retrieval_lens.errors import InputError, RetrievalLensError
from retrieval_lens.models import hook_names, user_hooks
from retrieval_lens.tracing.decoding import Decoder
from retrieval_lens.tracing.fast import FastDecoder
from retrieval_lens.tracing.fast_attention import RowListener
from retrieval_lens.tracing.hooked import HookedDecoder
from retrieval_lens.tracing.twin import weights_version
from retrieval_lens.tracing.twin_reads import reads_on_twin, require_hook_names

TOLERANCE = 1e-4  # largest difference, single and double precision
HALF_TOLERANCE = 0.1  # relative norm of the difference: rounding alone gives a few percent
FAILURES = (RetrievalLensError, ValueError, RuntimeError, TypeError, AttributeError, KeyError)
_PROOFS: "WeakKeyDictionary[nn.Module, tuple[tuple[float, ...], str | None]]" = WeakKeyDictionary()


def open_decoder(
    bridge: Any,
    engine: str,
    listener: RowListener,
    hidden_at: Sequence[str] = (),
    prefix: Any = None,
    replays: bool = False,
) -> FastDecoder | HookedDecoder:
    """A decoder of the chosen engine, to be entered.

    Args:
        bridge: The model.
        engine: `"fast"` or `"hooks"`.
        listener: Gets every decode row.
        hidden_at: Hook names whose state is kept.
        prefix: A `Prefix` to begin prompts with, or None; the hook engine prefills whole prompts.
        replays: Whether steps will be run again with edits.
    """
    if prefix is not None:
        prefix.require_current(bridge)
    if engine == "fast":
        return FastDecoder(bridge, listener, hidden_at, prefix, replays)
    on_twin = _why_not_fast(bridge, ()) is None
    return HookedDecoder(bridge, listener, hidden_at, prefill_on_twin=on_twin)


def choose_engine(bridge: Any, engine: str, hidden_at: Sequence[str]) -> tuple[str, str]:
    """The engine that runs, and why; refuses hook names that the model does not have.

    Raises:
        InputError: An unknown engine or hook name, `"fast"` where it cannot be used, or a model in
            training mode.
    """
    if bridge.original_model.training:
        raise InputError("the model is in training mode, where dropout is on; call model.eval()")
    if engine not in ("auto", "fast", "hooks"):
        raise InputError(f"engine is 'auto', 'fast' or 'hooks', not {engine!r}")
    require_hook_names(bridge, hidden_at)
    if engine == "hooks":
        return "hooks", "asked for"
    why_not = _why_not_fast(bridge, hidden_at)
    if why_not is None:
        return "fast", "proven equal on this model"
    if engine == "fast":
        raise InputError(f"the fast engine cannot be used: {why_not}; use engine='hooks'")
    return "hooks", why_not


def _why_not_fast(bridge: Any, hidden_at: Sequence[str]) -> str | None:
    hooked = user_hooks(bridge)
    if hooked:
        return f"hooks on the model would not be seen ({', '.join(hooked[:3])})"
    unreadable = [name for name in hidden_at if not reads_on_twin(name)]
    if unreadable:
        return f"hidden states at {unreadable[0]!r} can only be read by a hook"
    try:
        version = weights_version(bridge)
    except FAILURES as error:
        return f"the plain modules cannot be told apart ({type(error).__name__}: {error})"
    known = _PROOFS.get(bridge)
    if known is None or known[0] != version:
        known = (version, _disagreement(bridge))
        _PROOFS[bridge] = known
    return known[1]


def _disagreement(bridge: Any) -> str | None:
    """None if both engines agree on a short prompt, each prefilling its own way."""
    try:
        fast, hooked = (_short_run(bridge, engine) for engine in (FastDecoder, HookedDecoder))
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        return f"it fails on this model ({type(error).__name__}: {error})"
    if [len(part) for part in fast] != [len(part) for part in hooked]:
        return "it sees other layers than the hooks"
    half = next(bridge.original_model.parameters()).dtype in (torch.float16, torch.bfloat16)
    for what, ours, theirs in zip(("rows", "hidden states and logits"), fast, hooked, strict=True):
        if [x.shape for x in ours] != [x.shape for x in theirs]:
            return f"its {what} have other shapes than the hooks' on this model"
        pairs = [(torch.cat([x.flatten() for x in ours]), torch.cat([x.flatten() for x in theirs]))]
        if not half:
            pairs = list(zip(ours, theirs, strict=True))
        if not all(_close(a, b, half) for a, b in pairs):
            return f"its {what} differ from the hooks' on this model"
    return None


def _close(a: Tensor, b: Tensor, half: bool) -> bool:
    if half:
        return float((a - b).norm()) <= HALF_TOLERANCE * float(b.norm())
    return float((a - b).abs().max()) <= TOLERANCE * max(1.0, float(b.abs().max()))


@torch.inference_mode()
def _short_run(
    bridge: Any, engine: type[FastDecoder] | type[HookedDecoder]
) -> tuple[list[Tensor], list[Tensor]]:
    """Rows, then hidden states and logits, of three steps after a prompt of 13 tokens."""
    n_vocab = bridge.original_model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(16) * 7919 + 11) % n_vocab
    rows: list[tuple[int, Tensor]] = []
    rest: list[Tensor] = []
    decoder: Decoder
    with engine(
        bridge, lambda i, row: rows.append((i, row)), [hook_names.FINAL_NORM_OUT]
    ) as decoder:
        decoder.prefill([ids[:13]], 3)
        for token in ids[12:15]:
            output = decoder.step(token.unsqueeze(0))
            rest += [output.logits, *output.hidden.values()]
    return [row.cpu() for _, row in rows], [x.cpu() for x in rest]
