"""Single-step effect: what masking the heads of one step does to that step's own prediction.

1. The clean response is fed token by token, so every step starts from the clean prefix.
2. At each step one clean pass gives log p(y_t); the conditions whose set is not empty run the same
   step masked, as one batch, from the lowest layer that has a masked head.
3. The effect is the change of log p(y_t) in nats and KL(clean || masked), the whole distribution's.
   Where a set is empty both are 0.

There is no floor, as exact match has, and nothing is generated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from retrieval_lens.ablation.clean_steps import steps_of_trace
from retrieval_lens.ablation.head_edit import HeadEdit
from retrieval_lens.ablation.modes import AblationMode
from retrieval_lens.errors import NumericalError
from retrieval_lens.heads import StepHeads
from retrieval_lens.progress import Advance
from retrieval_lens.tracing import Trace
from retrieval_lens.tracing.decoding import OVERFLOW, Decoder

Masks = list[tuple[str, Tensor]]  # conditions with a non-empty set, and their masks [layer, head]


def selected(trace: Trace, conditions: Mapping[str, StepHeads]) -> dict[str, list[Tensor]]:
    """The mask `[layer, head]` of every condition at every step of a trace."""
    shape = tuple(next(iter(trace.scores.values())).shape[1:])
    return {
        name: [strategy.select(step).mask(*shape) for step in steps_of_trace(strategy, trace)]
        for name, strategy in conditions.items()
    }


@torch.inference_mode()
def step_effects(
    decoder: Decoder,
    trace: Trace,
    masks: Mapping[str, Sequence[Tensor]],
    mode: AblationMode,
    blocks: Sequence[int],
    n_rows: int,
    advance: Advance,
) -> list[dict[str, Any]]:
    """One record for every condition and step.

    Args:
        decoder: Fresh, entered.
        trace: The clean response.
        masks: `[layer, head]` of every condition at every step.
        mode: What masked heads read.
        blocks: The block of each attention layer.
        n_rows: Most conditions at a time.
        advance: Called after every step.
    """
    decoder.prefill([trace.token_ids] * n_rows, trace.n_steps)
    records: list[dict[str, Any]] = []
    token = trace.token_ids[-1:]
    for t, answer in enumerate(trace.tokens.tolist()):
        before = decoder.snapshot()
        clean = _log_probs(decoder.step(token).logits)[0]
        after = decoder.snapshot(newest=True)
        full = [(name, steps[t]) for name, steps in masks.items() if steps[t].any()]
        effects: dict[str, tuple[float, float]] = {}
        for start in range(0, len(full), n_rows):
            decoder.restore(before)
            part = full[start : start + n_rows]
            logits = _masked(decoder, token, part, trace, mode, blocks)
            effects |= _effects(clean, logits, [name for name, _ in part], answer)
        decoder.restore(after)
        for name, steps in masks.items():
            delta, kl = effects.get(name, (0.0, 0.0))
            found = {"condition": name, "step": t, "n_heads": int(steps[t].sum())}
            records.append({**found, "delta_log_prob": delta, "kl": kl})
        token = trace.tokens[t : t + 1]
        advance()
    return records


def _masked(
    decoder: Decoder,
    token: Tensor,
    part: Masks,
    trace: Trace,
    mode: AblationMode,
    blocks: Sequence[int],
) -> Tensor:
    """Logits `[condition, vocab]` of the step under each mask."""
    n = len(part)
    stacked = torch.stack([mask for _, mask in part])
    evidence = [trace.evidence] * n
    edit = HeadEdit(mode, stacked, blocks, evidence, lambda keys: decoder.first_key(keys)[:n])
    return decoder.step(token.expand(n), edit, lambda layer, row: None, again=True).logits


def _effects(
    clean: Tensor, logits: Tensor, names: Sequence[str], answer: int
) -> dict[str, tuple[float, float]]:
    """Change of log p(answer), and KL(clean || masked), in nats."""
    masked = _log_probs(logits)
    delta = masked[:, answer] - clean[answer]
    kl = (clean.exp() * (clean - masked)).sum(-1)
    return dict(zip(names, zip(delta.tolist(), kl.tolist(), strict=True), strict=True))


def _log_probs(logits: Tensor) -> Tensor:
    """In float64.

    Raises:
        NumericalError: NaN or infinite logits.
    """
    if not bool(logits.isfinite().all()):
        raise NumericalError(OVERFLOW)
    return logits.double().log_softmax(-1)
