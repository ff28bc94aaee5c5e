"""The sets of active heads of one response, with what the analysis needs beside them.

1. A trace becomes a `StepSets`: which heads are active at each step, and which example it was.
2. A result on disk becomes one without a trace.
3. Several of them are checked together: one model, one score, every example once.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval_lens.errors import InputError, NumericalError
from retrieval_lens.scores import StepScore
from retrieval_lens.tracing import Trace
from retrieval_lens.types import ActiveHeads

SAME = ("model", "score", "score_parameters")


@dataclass(frozen=True, eq=False)
class StepSets:
    """Active heads at every decode step of one response.

    Attributes:
        active: `[step, layer, head]`, the heads that are dynamic at each step.
        example_id: Name of the example.
        meta: How the example was made (haystack, n_tokens, depth, seed, needle …), with the names
            of `model` and `score` where they are known.
        scores: `[step, layer, head]` behind `active`, or None.
        tokens: `[step]`, the token predicted at each step, or None; `test_retest` needs it.

    Raises:
        InputError: No step, no head, or parts of different lengths.
        NumericalError: A score is NaN.

    Examples:
        >>> import torch
        >>> StepSets(torch.ones(3, 2, 2, dtype=torch.bool), "by hand").n_steps
        3
    """

    active: ActiveHeads
    example_id: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    scores: Float[Tensor, "step_of_scores layer_of_scores head_of_scores"] | None = None
    tokens: Int[Tensor, " step_of_tokens"] | None = None

    def __post_init__(self) -> None:
        if not self.active.numel():
            raise InputError(
                f"example {self.example_id!r} has active heads of shape "
                f"{tuple(self.active.shape)}; wanted at least one step, layer and head"
            )
        if self.scores is not None and self.scores.shape != self.active.shape:
            raise InputError(
                f"example {self.example_id!r} has scores {tuple(self.scores.shape)} and active "
                f"heads {tuple(self.active.shape)}; wanted the same shape [step, layer, head]"
            )
        if self.tokens is not None and len(self.tokens) != self.n_steps:
            raise InputError(
                f"example {self.example_id!r}: {self.n_steps} steps, but {len(self.tokens)} tokens"
            )
        if self.scores is not None and self.scores.isnan().any():
            raise NumericalError(f"a score of example {self.example_id!r} is NaN")

    @property
    def n_steps(self) -> int:
        """Decode steps of the response."""
        return len(self.active)

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads of the model."""
        return self.active.shape[1], self.active.shape[2]

    @property
    def flat(self) -> Bool[np.ndarray, "step head"]:
        """`active` with all heads of the model in one axis, as an array."""
        return self.active.flatten(1).cpu().numpy()


def step_sets(trace: Trace, score: str | StepScore = "copy_paste") -> StepSets:
    """The active heads of a trace.

    Args:
        trace: One response.
        score: Name of a traced score, or a score that observes what was traced.

    Raises:
        UnknownNameError: No such score in the trace.
        InputError: The trace has no step, or did not observe what the score needs.
        NumericalError: A score is NaN.

    Examples:
        ```python
        sets = rl.analysis.step_sets(trace)
        sets.active.sum((1, 2)), sets.meta["haystack"]
        ```
    """
    example = dict(trace.provenance.get("example") or {})
    if "id" not in example:
        raise InputError(
            "this trace does not name its example (provenance['example']['id']), and examples are "
            "the unit of every interval; trace with RetrievalTracer, or build a StepSets"
        )
    known = {
        "model": (trace.provenance.get("model") or {}).get("name"),
        **score_of(trace, score),
    }
    return StepSets(
        active=trace.active(score),
        example_id=example.pop("id"),
        meta=example | {name: value for name, value in known.items() if value is not None},
        scores=trace.scored(score),
        tokens=trace.tokens,
    )


def score_of(trace: Trace, score: str | StepScore) -> dict[str, Any]:
    """Name and parameters of a score, to be compared between traces."""
    if isinstance(score, str):
        parameters = (trace.provenance.get("scores") or {}).get(score)
    else:
        score, parameters = score.name, score.parameters()
    found = None if parameters is None else json.dumps(parameters, sort_keys=True)
    return {"score": score, "score_parameters": found}


def gathered(traces: Any, score: str | StepScore = "copy_paste") -> list[StepSets]:
    """Traces and StepSets as StepSets that may be judged together.

    Raises:
        InputError: Nothing, something else, an example twice, different models or scores.
    """
    given = [traces] if isinstance(traces, Trace | StepSets) else traces
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping | Tensor):
        raise InputError(f"wanted traces or StepSets, received {type(traces).__name__}")
    found = [one if isinstance(one, StepSets) else _from_trace(one, score) for one in given]
    if not found:
        raise InputError("received no trace; wanted at least one Trace or StepSets")
    require_same(found)
    require_once(found)
    return found


def _from_trace(one: Any, score: str | StepScore) -> StepSets:
    if not isinstance(one, Trace):
        raise InputError(f"wanted a Trace or a StepSets, received {type(one).__name__}")
    return step_sets(one, score)


def require_same(
    found: Sequence[Any], names: Sequence[str] = ("model", "score", "score_parameters")
) -> None:
    """Refuse responses that cannot be judged together.

    Args:
        found: Responses with `shape` and `meta`.
        names: What must be the same in their `meta`.

    Raises:
        InputError: Different models or scores.
    """
    shapes = sorted({one.shape for one in found})
    if len(shapes) > 1:
        raise InputError(f"different models: (layers, heads) are {shapes}; judge each apart")
    for what in names:
        values = sorted({str(one.meta[what]) for one in found if what in one.meta})
        if len(values) > 1:
            raise InputError(f"responses of a different {what}: {values}; judge each apart")


def require_once(found: Sequence[Any]) -> None:
    """Refuse an example that is there twice.

    Raises:
        InputError: With its name.
    """
    ids = Counter(one.example_id for one in found)
    twice = sorted(name for name, times in ids.items() if times > 1)
    if twice:
        raise InputError(
            f"example {twice[0]!r} is there more than once ({len(twice)} such examples): examples "
            "are the unit of every interval, so judge one response an example"
        )
