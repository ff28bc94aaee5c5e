"""Traces whose every number is known, made without a model or a tracer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class FakeTrace:
    """The attributes that the figures read, and nothing else."""

    token_ids: Tensor
    prompt_str_tokens: tuple[str, ...]
    evidence: Tensor
    tokens: Tensor
    str_tokens: tuple[str, ...]
    scores: dict[str, Tensor]
    thresholds: dict[str, Tensor]
    chance: dict[str, Tensor]
    top_positions: Tensor
    top_weights: Tensor
    truncated: bool = False
    text: str = ""
    metrics: dict[str, float | bool] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)


def fake_trace(
    prompt: tuple[str, ...],
    response: tuple[str, ...],
    scores: dict[str, Tensor],
    evidence: tuple[int, ...] = (1,),
    tops: dict[tuple[int, int, int], list[tuple[int, float]]] | None = None,
    m: int = 3,
    truncated: bool = False,
    chance: float = 0.05,
) -> FakeTrace:
    """A trace with these scores; `tops` gives (position, weight) pairs by (step, layer, head)."""
    n_steps, n_layers, n_heads = next(iter(scores.values())).shape
    assert n_steps == len(response)
    positions = torch.full((n_steps, n_layers, n_heads, m), -1)
    weights = torch.zeros(n_steps, n_layers, n_heads, m)
    for cell, pairs in (tops or {}).items():
        for rank, (position, weight) in enumerate(pairs):
            positions[(*cell, rank)], weights[(*cell, rank)] = position, weight
    return FakeTrace(
        token_ids=torch.arange(len(prompt)),
        prompt_str_tokens=prompt,
        evidence=torch.tensor(evidence),
        tokens=torch.arange(n_steps),
        str_tokens=response,
        text="".join(response),
        scores=scores,
        thresholds={name: torch.full((n_steps,), 0.5) for name in scores},
        chance={name: torch.full((n_steps,), chance) for name in scores},
        top_positions=positions,
        top_weights=weights,
        truncated=truncated,
    )


UUID = tuple("3f2a9c1e-7b4d-48f0-a62e-5d91c07b3e84")
NEEDLE = ("\n", "The", " magic", " word", " is", " ", *UUID, ".")
SENTENCE = (
    " The",
    " harbour",
    " was",
    " quiet",
    ",",
    " and",
    " the",
    " boats",
    " lay",
    " still",
    ".",
)


def uuid_trace(n_prompt: int = 1000, n_layers: int = 30, n_heads: int = 9) -> FakeTrace:
    """Forty steps that copy a UUID out of a long prompt; some heads of the upper layers follow."""
    generator = torch.Generator().manual_seed(0)
    at = n_prompt // 2
    prompt = [SENTENCE[i % len(SENTENCE)] for i in range(n_prompt)]
    prompt[at : at + len(NEEDLE)] = NEEDLE
    prompt[-4:] = "?", "\n", "<|im_start|>", "\n"
    response = ("The", " word", " is", *UUID, ".")
    n_steps = len(response)
    rate = torch.rand(n_layers, n_heads, generator=generator) ** 8
    rate[: n_layers // 3] = 0.0
    shape = (n_steps, n_layers, n_heads)
    copy = (torch.rand(shape, generator=generator) < rate).float()
    copy[:2] = 0.0
    reasoning = copy * 0.5 + 0.3 * rate * torch.rand(shape, generator=generator)
    here = at + 3 + torch.arange(n_steps)[:, None, None]
    query = n_prompt - 1 + torch.arange(n_steps)[:, None, None]
    sink = torch.zeros_like(here)
    first, second = torch.where(copy > 0, here, sink), torch.where(copy > 0, sink, here)
    ranks = [rank.expand(shape) for rank in (first, second, here + 1, query, query - 3)]
    return FakeTrace(
        token_ids=torch.arange(n_prompt),
        prompt_str_tokens=tuple(prompt),
        evidence=torch.arange(at, at + len(NEEDLE)),
        tokens=torch.arange(n_steps),
        str_tokens=response,
        scores={"copy_paste": copy, "reasoning": reasoning},
        thresholds={
            "copy_paste": torch.full((n_steps,), 0.5),
            "reasoning": torch.full((n_steps,), 0.1),
        },
        chance={"copy_paste": torch.zeros(n_steps), "reasoning": torch.full((n_steps,), 0.04)},
        top_positions=torch.stack(ranks, dim=-1),
        top_weights=torch.tensor([0.6, 0.2, 0.1, 0.05, 0.03]).expand(*shape, 5).clone(),
    )
