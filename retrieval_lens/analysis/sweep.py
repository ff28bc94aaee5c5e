"""How much a result hangs on the parameters of a score: sink, local window, threshold (Eq. 2).

1. Each trace is scored anew with every variant, from what was observed; no model is run.
2. Beside each variant's number of active heads stand its chance level, what an active head scores
   over it, and how much its active and its strongest heads are those of the first variant.

The paper states none of these parameters: https://arxiv.org/abs/2602.11162, Sec. 4.1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval_lens.analysis.dynamism import dynamism
from retrieval_lens.analysis.step_sets import StepSets, step_sets
from retrieval_lens.errors import InputError
from retrieval_lens.scores import StepScore
from retrieval_lens.tracing import Trace

_TAKEN = ("mean_active", "empty_share", "adjacent_jaccard", "unique_heads")
_WITH_INTERVAL = ("mean_active", "adjacent_jaccard")


def score_sweep(
    traces: Any,
    scores: Iterable[Any],
    *,
    k: SupportsIndex = 20,
    n_resamples: int = 1000,
    confidence: float | int = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Variants of a score on the same traces; nothing is run again.

    Trace once with every pair of windows (`Reasoning(n_sink=…, n_local=…, name=…)`); `min_mass`,
    `floor` and `times_chance` need no tracing of their own.

    Args:
        traces: Traces of one model, or a corpus; each is read once.
        scores: Variants, each observing what was traced; the first is what others are compared to.
        k: How many of the strongest heads (by mean score) are compared.
        n_resamples: Of the bootstrap over examples.
        confidence: Of the intervals.
        seed: Of the bootstrap.

    Returns:
        One row a variant: its parameters; `chance` and `threshold`, means over the steps;
        `lift`, mean of score over chance at every head and step, and `active_lift`, at those
        that are active; `mean_active` and `adjacent_jaccard`, each with `_low` and `_high`,
        `empty_share` and `unique_heads`, as in `dynamism` (empty steps counted);
        `jaccard_first`, mean over the steps of the Jaccard similarity with the first variant's
        active heads (1 where both are empty); `overlap_first`, share of its `k` strongest heads
        that are among the first variant's.

    Raises:
        InputError: No trace, no variant, something else, or a variant that was not traced.

    Examples:
        ```python
        variants = [rl.Reasoning(times_chance=times) for times in (2, 0, 4)]
        frame = rl.analysis.score_sweep([trace], variants)
        frame[["times_chance", "threshold", "mean_active", "active_lift"]]
        ```
    """
    variants = list(scores)
    if not variants or not all(isinstance(one, StepScore) for one in variants):
        raise InputError(f"scores holds variants such as Reasoning(floor=0.2); got {variants!r}")
    given = [traces] if isinstance(traces, Trace) else traces
    if not isinstance(given, Iterable):
        raise InputError(f"wanted traces or a corpus, received {type(traces).__name__}")
    read = [[_read(trace, score) for score in variants] for trace in given]
    if not read:
        raise InputError("received no trace; wanted at least one")
    options = {"n_resamples": n_resamples, "confidence": confidence, "seed": seed}
    columns = list(zip(*read, strict=True))
    first = columns[0]
    rows = []
    for score, found in zip(variants, columns, strict=True):
        support = {"n_examples": len(found), "n_steps": sum(one.sets.n_steps for one in found)}
        sizes, beside = _sizes(found, options), _beside(found, first, k.__index__())
        rows.append(score.parameters() | support | _levels(found) | sizes | beside)
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class _Scored:
    """One response under one variant."""

    sets: StepSets
    chance: Float[Tensor, " step"]
    threshold: Float[Tensor, " step"]

    @property
    def scores(self) -> Float[Tensor, "step layer head"]:
        assert self.sets.scores is not None
        return self.sets.scores.double()


def _read(trace: Any, score: StepScore) -> _Scored:
    if not isinstance(trace, Trace):
        raise InputError(f"wanted traces or a corpus, received a {type(trace).__name__} in it")
    chance = score.chance(trace.steps).float()
    return _Scored(step_sets(trace, score), chance.double(), score.threshold(chance).double())


def _levels(found: Sequence[_Scored]) -> dict[str, float]:
    chance = torch.cat([one.chance for one in found])
    lift = torch.cat([one.scores / one.chance.view(-1, 1, 1) for one in found])
    active = torch.cat([one.sets.active for one in found])
    return {
        "chance": chance.mean().item(),
        "threshold": torch.cat([one.threshold for one in found]).mean().item(),
        "lift": lift.mean().item(),
        "active_lift": lift[active].mean().item(),
    }


def _sizes(found: Sequence[_Scored], options: dict[str, Any]) -> dict[str, float]:
    frame = dynamism([one.sets for one in found], **options)
    kept = (frame["empty"].fillna("count") == "count") & (frame["pooled"] == "steps")
    values = frame[kept & frame["null"].isna()].set_index("statistic")
    row: dict[str, float] = {}
    for name in _TAKEN:
        row[name] = float(values.loc[name, "value"])  # pyright: ignore
        if name in _WITH_INTERVAL:
            for end in ("low", "high"):
                row[f"{name}_{end}"] = float(values.loc[name, end])  # pyright: ignore
    return row


def _beside(found: Sequence[_Scored], first: Sequence[_Scored], k: int) -> dict[str, float]:
    pairs = [_jaccard(a.sets.active, b.sets.active) for a, b in zip(found, first, strict=True)]
    top = [set(_strongest(one, k)) for one in (found, first)]
    return {
        "jaccard_first": torch.cat(pairs).mean().item(),
        "overlap_first": len(top[0] & top[1]) / k,
    }


def _jaccard(
    a: Bool[Tensor, "step layer head"], b: Bool[Tensor, "step layer head"]
) -> Float[Tensor, " step"]:
    both, either = ((x.flatten(1).sum(1).double()) for x in (a & b, a | b))
    return torch.where(either == 0, 1.0, both / either.clamp(min=1))


def _strongest(found: Sequence[_Scored], k: int) -> list[int]:
    mean = torch.cat([one.scores for one in found]).mean(0).flatten()
    if not 1 <= k <= len(mean):
        raise InputError(f"k must be in 1..{len(mean)}, the heads of the model; got {k}")
    return mean.sort(descending=True, stable=True).indices[:k].tolist()
