"""Put the steps of one response together into a trace."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from retrieval_lens.errors import NumericalError
from retrieval_lens.models import model_info
from retrieval_lens.scores import DecodedSteps, StepScore
from retrieval_lens.tasks import RetrievalExample, response_metrics
from retrieval_lens.tracing.decoding import FinishedStep
from retrieval_lens.tracing.recorder import TOP_POSITIONS, TOP_WEIGHTS
from retrieval_lens.tracing.trace import Trace

CONVENTIONS = {
    "decoding": "greedy, lowest id of equal logits",
    "attention": "post-softmax row of the last input token, scored in float32",
    "argmax_ties": "lowest position",
    "step_0": "row of the last prompt token",
    "evidence": "whole sentences; a token belongs to one if its characters overlap it",
    "rouge_l": "F1 against the evidence, no stemming",
    "em, f1": "HotpotQA's rules, on the answer extracted from the response",
}


class StepLog:
    """The steps of one example, as they come."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.observed: list[dict[str, Tensor]] = []
        self.hidden: list[dict[str, Tensor]] = []

    def add(self, step: FinishedStep, row: int) -> None:
        """Take one row of a finished step."""
        self.tokens.append(step.predicted[row])
        self.observed.append({name: value[row] for name, value in step.observed.items()})
        self.hidden.append({name: value[row] for name, value in step.output.hidden.items()})


def assemble(
    bridge: Any,
    example: RetrievalExample,
    log: StepLog,
    scores: Sequence[StepScore],
    conventions: dict[str, Any],
) -> Trace:
    """The trace of one response.

    Raises:
        NumericalError: NaN or infinity in what was observed.
    """
    ended = log.tokens[-1] in conventions["stop_ids"]
    n = len(log.tokens) - (ended and not conventions["include_eos"])
    observed, hiddens = _stacked(log.observed, n), _stacked(log.hidden, n)
    tokens = torch.tensor(log.tokens[:n], dtype=torch.long)
    _check_finite(observed)
    _check_finite({"hidden state at " + name: value for name, value in hiddens.items()})
    prompt = example.token_ids
    steps = DecodedSteps.of_response(prompt, tokens, example.evidence)
    top = observed.pop(TOP_POSITIONS, None), observed.pop(TOP_WEIGHTS, None)
    chance = {score.name: score.chance(steps).float() for score in scores}
    text = _text(bridge.tokenizer, log.tokens)
    return Trace(
        token_ids=prompt,
        prompt_str_tokens=_str_tokens(bridge.tokenizer, prompt.tolist()),
        evidence=example.evidence,
        tokens=tokens,
        str_tokens=_str_tokens(bridge.tokenizer, tokens.tolist()),
        text=text,
        truncated=not ended,
        scores={s.name: s.finish(observed[s.observes], steps) for s in scores},
        chance=chance,
        thresholds={s.name: s.threshold(chance[s.name]) for s in scores},
        observed=observed,
        channels={s.observes: s.channels for s in scores},
        hiddens=hiddens,
        top_positions=_or_empty(top[0], observed).long(),
        top_weights=_or_empty(top[1], observed),
        metrics=response_metrics(example, text, not ended) if bridge.tokenizer else {},
        provenance={
            "retrieval_lens": version("retrieval-lens"),
            "model": model_info(bridge),
            "example": {"id": example.id, "answer": example.answer, **example.meta},
            "scores": {score.name: score.parameters() for score in scores},
            "conventions": {**CONVENTIONS, **conventions},
        },
    )


def _stacked(parts: Sequence[dict[str, Tensor]], n: int) -> dict[str, Tensor]:
    """The first `n` steps stacked, on the CPU."""
    return {name: torch.stack([part[name] for part in parts])[:n].cpu() for name in parts[0]}


def _or_empty(top: Tensor | None, observed: dict[str, Tensor]) -> Tensor:
    if top is not None:
        return top
    return next(iter(observed.values()))[..., :0]


def _check_finite(observed: dict[str, Tensor]) -> None:
    for name, value in observed.items():
        bad = (~value.isfinite()).nonzero()
        if len(bad):
            axes = ("step", "layer", "head")[: value.ndim - 1]
            where = ", ".join(f"{axis} {i}" for axis, i in zip(axes, bad[0].tolist(), strict=False))
            raise NumericalError(
                f"{name} is not finite at {where} (and {len(bad) - 1} more numbers): the model "
                f"overflows here; load it in float32"
            )


def _str_tokens(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    if tokenizer is None:
        return tuple(f"<{token}>" for token in ids)
    return tuple(tokenizer.batch_decode([[token] for token in ids]))


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return "" if tokenizer is None else tokenizer.decode(ids, skip_special_tokens=True)
