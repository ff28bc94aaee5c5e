"""The clean pass of one step as a `CleanStep`: while decoding, or read from a trace."""

from collections.abc import Sequence

import torch
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.heads import CleanStep, StepHeads
from retrieval_lens.scores import DecodedSteps, Reasoning, StepScore
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing import Trace
from retrieval_lens.tracing.recorder import TOP_WEIGHTS

MASSES = Reasoning()


def observers(strategies: Sequence[StepHeads]) -> list[StepScore]:
    """What must be observed at each step for these strategies."""
    wanted = [strategy.score for strategy in strategies]
    if any(strategy.reads_masses for strategy in strategies):
        wanted.append(MASSES)
    return list({score.observes: score for score in wanted}.values())


def active_now(
    score: StepScore,
    observed: dict[str, Tensor],
    example: RetrievalExample,
    before: Sequence[int],
    predicted: int,
) -> tuple[Tensor, Tensor]:
    """Scores `[layer, head]` of the step that predicts a token, and which heads are active."""
    tokens = torch.tensor([*before, predicted])
    steps = DecodedSteps.of_response(example.token_ids, tokens, example.evidence)
    last = DecodedSteps(
        steps.token_ids,
        steps.prompt_length,
        steps.query_positions[-1:],
        steps.predicted[-1:],
        steps.evidence,
    )
    values = score.finish(observed[score.observes].unsqueeze(0).cpu(), last)[0]
    threshold = score.threshold(score.chance(last).float())
    return values, values > threshold


def step_while_decoding(
    strategy: StepHeads,
    observed: dict[str, Tensor],
    example: RetrievalExample,
    before: Sequence[int],
    predicted: int,
    trace: Trace | None,
) -> CleanStep:
    """The clean step at which `predicted` follows `before`."""
    values, active = active_now(strategy.score, observed, example, before, predicted)
    masses = observed.get(MASSES.observes)
    return CleanStep(
        index=len(before),
        example_id=example.id,
        active=active,
        scores=values,
        weights=observed[TOP_WEIGHTS][..., 0].cpu(),
        masses=torch.zeros_like(values) if masses is None else masses[..., 0].cpu(),
        trace=trace,
    )


def steps_of_trace(strategy: StepHeads, trace: Trace) -> list[CleanStep]:
    """The clean steps of a trace.

    Raises:
        InputError: The trace did not keep what the strategy reads.
    """
    name = trace.provenance["example"]["id"]
    if not strategy.reads_step:
        n_layers, n_heads = next(iter(trace.scores.values())).shape[1:]
        shape = (n_layers, n_heads)
        return [unscored_step(t, name, shape, trace) for t in range(trace.n_steps)]
    active, scores = trace.active(strategy.score), trace.scored(strategy.score)
    if trace.top_weights.shape[-1] == 0:
        raise InputError("this trace kept no attention weights; trace with n_top of at least 1")
    masses = trace.masses["evidence"] if strategy.reads_masses else torch.zeros_like(scores)
    return [
        CleanStep(
            index=t,
            example_id=name,
            active=active[t],
            scores=scores[t],
            weights=trace.top_weights[t, ..., 0],
            masses=masses[t],
            trace=trace,
        )
        for t in range(trace.n_steps)
    ]


def unscored_step(
    index: int, example_id: str, shape: tuple[int, int], trace: Trace | None
) -> CleanStep:
    """A step for strategies that do not read it."""
    nothing = torch.zeros(shape)
    return CleanStep(index, example_id, nothing.bool(), nothing, nothing, nothing, trace)
