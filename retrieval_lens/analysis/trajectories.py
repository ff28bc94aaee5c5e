"""Hidden states beside retrieval scores, response by response: what claim 3 is about.

1. A trace becomes a `Trajectory`: at each step the hidden state, the scores of all heads, which of
   them are active, the token that went in (x_n) and the one that came out (y_n).
2. Traces are read one after the other and let go, so a corpus on disk may be larger than memory as
   long as what is kept of it fits.
3. All of them are checked together: one model, one score, one hook, every example once, no NaN.

Source: section 3.4, https://arxiv.org/abs/2602.11162
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from retrieval_lens.analysis.step_sets import require_once, require_same, score_of
from retrieval_lens.errors import InputError, NumericalError, UnknownNameError
from retrieval_lens.scores import StepScore
from retrieval_lens.tracing import Trace
from retrieval_lens.types import ActiveHeads, HiddenStates, StepScores

MODEL = ("model", "revision", "weights_sha256", "dtype", "score", "score_parameters", "hidden_at")
SAME = tuple(name for name in MODEL if name != "dtype")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One response, step by step.

    Attributes:
        hidden: `[step, d_model]`, of the last input token, float32.
        scores: `[step, layer, head]`.
        active: `[step, layer, head]`, the heads that are dynamic at each step.
        inputs: `[step]`, the token x_n that each step was fed.
        tokens: `[step]`, the token y_n that each step predicted.
        example_id: Name of the example.
        meta: How the example was made (haystack, n_tokens, depth …), and `model`, `score` and
            `hidden_at` where they are known.

    Raises:
        InputError: No step, or parts of different lengths.
        NumericalError: A hidden state or a score is NaN or infinite.
    """

    hidden: HiddenStates
    scores: StepScores
    active: ActiveHeads
    inputs: Int[Tensor, " step"]
    tokens: Int[Tensor, " step"]
    example_id: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = (self.hidden, self.scores, self.active, self.inputs, self.tokens)
        lengths = {len(part) for part in parts}
        if len(lengths) > 1 or not self.scores.numel() or self.scores.shape != self.active.shape:
            shapes = [tuple(part.shape) for part in parts]
            raise InputError(
                f"example {self.example_id!r}: hidden, scores, active, inputs and tokens have "
                f"shapes {shapes}; wanted the same steps, at least one"
            )
        for name, part in (("hidden state", self.hidden), ("score", self.scores)):
            if not bool(part.isfinite().all()):
                raise NumericalError(
                    f"a {name} of example {self.example_id!r} is NaN or infinite; trace it again "
                    "in float32, or leave the example out"
                )

    @property
    def n_steps(self) -> int:
        """Decode steps of the response."""
        return len(self.tokens)

    @property
    def group(self) -> str:
        """Examples of one group must be on one side of a split.

        These are needles with the same answer, and the layouts of one question; each other example
        is a group by itself.
        """
        if "question_id" in self.meta:
            return f"question {self.meta['question_id']}"
        answer = self.meta.get("answer", self.meta.get("seed"))
        if self.meta.get("needle") is None or answer is None:
            return self.alone
        return f"answer {answer}"

    @property
    def stratum(self) -> Any:
        """Resamples keep to these: haystacks, or data sets."""
        return self.meta.get("haystack", self.meta.get("dataset"))

    @property
    def alone(self) -> str:
        """The group of an example that shares its answer with no other."""
        return f"example {self.example_id}"

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads of the model."""
        return self.scores.shape[1], self.scores.shape[2]


def trajectory(
    trace: Trace, score: str | StepScore = "copy_paste", hidden_at: str | None = None
) -> Trajectory:
    """Hidden states and scores of a trace.

    Args:
        trace: One response.
        score: Name of a traced score, or a score that observes what was traced.
        hidden_at: Hook name; None takes the first that was traced, the final norm's output by
            default.

    Raises:
        UnknownNameError: No such score, or no hidden states at that hook, in the trace.
        InputError: The trace holds no hidden states, or does not name its example.
        NumericalError: NaN or infinite numbers.
    """
    example = dict(trace.provenance.get("example") or {})
    if "id" not in example:
        raise InputError(
            "this trace does not name its example (provenance['example']['id']), and examples are "
            "the unit of every split; trace with RetrievalTracer, or build a Trajectory"
        )
    hook = next(iter(trace.hiddens), None) if hidden_at is None else hidden_at
    if hook is None:
        raise InputError("this trace holds no hidden states (hidden_at=() when it was made)")
    if hook not in trace.hiddens:
        known = ", ".join(trace.hiddens) or "none"
        raise UnknownNameError(f"no hidden states at {hook!r} in this trace; it has: {known}")
    model = trace.provenance.get("model") or {}
    known = {"model": model.get("name"), "hidden_at": hook}
    known |= {name: model.get(name) for name in ("revision", "weights_sha256", "dtype")}
    known |= score_of(trace, score)
    return Trajectory(
        hidden=trace.hiddens[hook].float(),
        scores=trace.scored(score),
        active=trace.active(score),
        inputs=torch.cat([trace.token_ids[-1:], trace.tokens[:-1]]),
        tokens=trace.tokens,
        example_id=example.pop("id"),
        meta=example | {name: value for name, value in known.items() if value is not None},
    )


def trajectories(
    source: Any, score: str | StepScore = "copy_paste", hidden_at: str | None = None
) -> list[Trajectory]:
    """Traces, a corpus, or trajectories as trajectories that may be analysed together.

    Source: section 3.4 of [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162).

    Args:
        source: Traces or trajectories; anything that can be iterated over, such as a corpus.
        score: As in `trajectory`; trajectories have theirs.
        hidden_at: As in `trajectory`; trajectories have theirs.

    Raises:
        InputError: Nothing, something else, an example twice, or different models or scores.
        UnknownNameError: As in `trajectory`.
        NumericalError: NaN or infinite numbers.
    """
    given = [source] if isinstance(source, Trace | Trajectory) else source
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping | Tensor):
        raise InputError(f"wanted traces or a corpus, received {type(source).__name__}")
    found: list[Trajectory] = []
    for one in given:
        if not isinstance(one, Trace | Trajectory):
            raise InputError(f"wanted traces or a corpus, received a {type(one).__name__} in it")
        found.append(trajectory(one, score, hidden_at) if isinstance(one, Trace) else one)
    if not found:
        raise InputError("received no trace; wanted at least one")
    require_same(found, SAME)
    require_once(found)
    widths = sorted({one.hidden.shape[1] for one in found})
    if len(widths) > 1:
        raise InputError(f"hidden states of widths {widths}: different models; analyse each apart")
    return found
