"""A trace: what every head did at every decode step of one response."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.scores import DecodedSteps, StepScore
from retrieval_lens.types import (
    ActiveHeads,
    EvidencePositions,
    HiddenStates,
    StepScores,
    TokenIds,
    TopPositions,
    TopWeights,
)

MASSES = "masses("


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Scores of every head at every step, and what is needed to score, plot and cite them.

    Attributes:
        token_ids: `[pos]`, the prompt. Step t looks from position `len(token_ids) - 1 + t`.
        prompt_str_tokens: The prompt's tokens as text.
        evidence: `[evidence]`, positions of the evidence in the prompt.
        tokens: `[step]`, the token predicted at each step, the end-of-sequence token included.
        str_tokens: The same as text.
        text: The response, special tokens removed.
        truncated: Whether the response ran into `max_new_tokens`.
        scores: `{name: [step, layer, head]}`.
        chance: `{name: [step]}`, the score of a head that attends uniformly to the whole context
            (a sliding window's uniform head scores more); NaN if meaningless.
        thresholds: `{name: [step]}`; a head is active at a step where its score is above.
        observed: `{what: [step, layer, head, channel]}`, what the scores kept of each row.
        channels: `{what: names of the channels}`.
        hiddens: `{hook name: [step, d_model]}` of the last input token, float32.
        top_positions: `[step, layer, head, m]`, most attended positions, -1 where there is none.
        top_weights: `[step, layer, head, m]`, their attention.
        metrics: How right the response is; see `tasks.response_metrics`.
        provenance: Model, example, scores, conventions and versions, JSON-able.
    """

    token_ids: TokenIds
    prompt_str_tokens: tuple[str, ...]
    evidence: EvidencePositions
    tokens: Int[Tensor, " step"]
    str_tokens: tuple[str, ...]
    text: str
    truncated: bool
    scores: dict[str, StepScores]
    chance: dict[str, Float[Tensor, " step"]]
    thresholds: dict[str, Float[Tensor, " step"]]
    observed: dict[str, Tensor]
    channels: dict[str, tuple[str, ...]]
    hiddens: dict[str, Tensor]
    top_positions: TopPositions
    top_weights: TopWeights
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One line; the tensors would fill the screen."""
        n_layers, n_heads = self.top_positions.shape[1:3]
        name = (self.provenance.get("model") or {}).get("name", "?")
        text = self.text if len(self.text) <= 40 else self.text[:39] + "…"
        return (
            f"Trace({name}, {len(self.token_ids)} prompt tokens, {self.n_steps} steps, "
            f"{n_layers} x {n_heads} heads, scores: {', '.join(self.scores)}, text={text!r})"
        )

    @property
    def n_steps(self) -> int:
        """Decode steps in the trace."""
        return len(self.tokens)

    @property
    def hidden(self) -> HiddenStates:
        """`[step, d_model]` at the first hook name asked for; the final norm's output by default.

        Raises:
            InputError: The trace was made with `hidden_at=()`.
        """
        if not self.hiddens:
            raise InputError("this trace holds no hidden states (hidden_at=() when it was made)")
        return next(iter(self.hiddens.values()))

    @property
    def masses(self) -> dict[str, StepScores]:
        """Attention mass `[step, layer, head]` on evidence, sink, local window and denominator.

        Raises:
            InputError: No reasoning score was traced.
        """
        for what, observed in self.observed.items():
            if what.startswith(MASSES):
                return dict(zip(self.channels[what], observed.unbind(-1), strict=True))
        raise InputError("masses are kept by the reasoning score; trace with scores=[Reasoning()]")

    @property
    def steps(self) -> DecodedSteps:
        """Tokens around the rows, as a score's second moment wants them."""
        return DecodedSteps.of_response(self.token_ids, self.tokens, self.evidence)

    def score(self, name: str) -> StepScores:
        """`scores[name]`, with an error that lists the known names.

        Raises:
            UnknownNameError: No score of that name was traced.
        """
        if name not in self.scores:
            known = ", ".join(sorted(self.scores))
            raise UnknownNameError(f"no score {name!r} in this trace; it has: {known}")
        return self.scores[name]

    def scored(self, score: str | StepScore) -> StepScores:
        """`[step, layer, head]` by the name of a traced score, or by `rescore`."""
        return self.score(score) if isinstance(score, str) else self.rescore(score)

    def active(self, name: str | StepScore = "copy_paste") -> ActiveHeads:
        """`[step, layer, head]`, the heads that are dynamic at each step.

        Args:
            name: A traced score, or a score that observes what was traced.

        Raises:
            UnknownNameError: No score of that name was traced.
            InputError: The trace did not observe what the score needs.
        """
        if isinstance(name, str):
            thresholds = self.thresholds.get(name, self.score(name))
        else:
            thresholds = name.threshold(name.chance(self.steps).float())
        return self.scored(name) > thresholds.view(-1, 1, 1)

    def lift(self, name: str = "reasoning") -> StepScores:
        """`[step, layer, head]`, score over chance level.

        Raises:
            UnknownNameError: No score of that name was traced.
        """
        return self.score(name) / self.chance[name].view(-1, 1, 1)

    def rescore(self, score: StepScore) -> StepScores:
        """`[step, layer, head]` of another score that observes what was traced.

        `CopyPaste(match="position")` and `Reasoning` with another `min_mass` need no new run.

        Raises:
            InputError: The trace did not observe what `score` needs.

        Examples:
            ```python
            trace.rescore(rl.CopyPaste(match="position"))
            ```
        """
        if score.observes not in self.observed:
            raise InputError(
                f"{score.name!r} needs {score.observes!r}, but this trace observed "
                f"{', '.join(map(repr, self.observed))}; trace again with it among scores="
            )
        return score.finish(self.observed[score.observes], self.steps)

    def save(self, path: str | Path) -> Path:
        """Write the trace to one safetensors file, atomically, and return its path.

        Raises:
            OSError: The file cannot be written (a full disk, say); an older file stays as it was.
        """
        from retrieval_lens.tracing.trace_file import save_trace

        return save_trace(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read a trace written by `save`.

        Raises:
            FileFormatError: The file is damaged, of a foreign format, or of a newer version.
        """
        from retrieval_lens.tracing.trace_file import load_trace

        return load_trace(Path(path))
