"""Reasoning score, Eq. 2 of arXiv 2602.11162.

1. Masses of the row: on the evidence, on the sink (the first `n_sink` tokens), on the local window
   (the last `n_local` tokens, the query included).
2. Denominator: the mass outside sink and local window; an evidence token counts in it even inside
   them, so that the ratio stays within [0, 1].
3. Score: evidence mass over denominator; 0 where the denominator's mass is below `min_mass`.
4. Chance: evidence tokens over denominator tokens, what a uniform head scores; `lift` is the score
   over it. A head is active where its score is above max(`floor`, `times_chance` x chance).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.scores.base import AttentionRows, DecodedSteps, StepScore


@dataclass(frozen=True)
class Reasoning(StepScore):
    """Eq. 2: in [0, 1].

    Args:
        n_sink: Tokens at the start that count as attention sink.
        n_local: Tokens at the end, the query included, that count as local window.
        min_mass: Denominators below this give 0 instead of a ratio of noise.
        floor: Lowest threshold for a head to be active.
        times_chance: Threshold in multiples of the chance level; 0 leaves the floor alone.
        name: Key in the trace.

    Raises:
        InputError: A negative parameter, or `min_mass` not in (0, 1].
    """

    n_sink: int = 4
    n_local: int = 32
    min_mass: float | int = 0.01
    floor: float | int = 0.1
    times_chance: float | int = 2.0
    name: str = "reasoning"
    channels: ClassVar[tuple[str, ...]] = ("evidence", "sink", "local", "denominator")

    def __post_init__(self) -> None:
        negative = min(self.n_sink, self.n_local, self.floor, self.times_chance) < 0
        if negative or not 0 < self.min_mass <= 1:
            raise InputError(
                f"n_sink, n_local, floor and times_chance must not be negative and min_mass must "
                f"be in (0, 1]; got {self}"
            )

    @property
    def observes(self) -> str:
        """The masses, which depend on the two window sizes alone."""
        return f"masses(n_sink={self.n_sink}, n_local={self.n_local})"

    def observe(self, rows: AttentionRows) -> Float[Tensor, "row head channel"]:
        """Mass on evidence, sink, local window and denominator of each row."""
        sink, local = self._sink_and_local(rows.key_positions, rows.query_positions.unsqueeze(1))
        visible = (rows.key_positions >= 0) & (
            rows.key_positions <= rows.query_positions.unsqueeze(1)
        )
        evidence = rows.evidence & visible
        denominator = visible & (evidence | ~(sink | local))
        regions = torch.stack([evidence, sink, local, denominator], dim=-1)
        return rows.pattern @ regions.to(rows.pattern.dtype)

    def finish(
        self, observed: Float[Tensor, "step layer head channel"], steps: DecodedSteps
    ) -> Float[Tensor, "step layer head"]:
        """Eq. 2 from the masses."""
        return reasoning_score(observed[..., 0], observed[..., 3], self.min_mass)

    def chance(self, steps: DecodedSteps) -> Float[Tensor, " step"]:
        """Evidence tokens over denominator tokens, at each step.

        Of the whole context: a head that attends uniformly within a sliding window scores more.
        """
        positions = torch.arange(len(steps.token_ids)).expand(len(steps.query_positions), -1)
        query = steps.query_positions.unsqueeze(1)
        visible = positions <= query
        evidence = torch.isin(positions, steps.evidence) & visible
        sink, local = self._sink_and_local(positions, query)
        denominator = visible & (evidence | ~(sink | local))
        return evidence.sum(1) / denominator.sum(1).clamp(min=1)

    def threshold(self, chance: Float[Tensor, " step"]) -> Float[Tensor, " step"]:
        """max(floor, times_chance x chance)."""
        return (self.times_chance * chance).clamp(min=self.floor)

    def _sink_and_local(
        self, positions: Tensor, query: Tensor
    ) -> tuple[Bool[Tensor, "row key_pos"], Bool[Tensor, "row key_pos"]]:
        visible = (positions >= 0) & (positions <= query)
        return visible & (positions < self.n_sink), visible & (positions > query - self.n_local)


def reasoning_score(
    evidence_mass: Float[Tensor, "*dims"],
    denominator_mass: Float[Tensor, "*dims"],
    min_mass: float | int = 0.01,
) -> Float[Tensor, "*dims"]:
    """Evidence mass over denominator mass, 0 where the latter is below `min_mass`.

    Examples:
        >>> reasoning_score(torch.tensor([0.3, 0.004]), torch.tensor([0.6, 0.005]))
        tensor([0.5000, 0.0000])
    """
    ratio = (evidence_mass / denominator_mass.clamp(min=min_mass)).clamp(max=1)
    return torch.where(denominator_mass < min_mass, torch.zeros_like(ratio), ratio)
