"""How much the active heads change from step to step (Sec. 3.2, Tables 1 and 5), beside chance.

1. Each example is reduced to sums (`tally`).
2. Every statistic is a function of weighted sums over examples, the weight being how often an
   example was drawn: all 1 for the value, resamples stratified by haystack for the interval. The
   layouts of one question are drawn together.
3. Beside the similarity of neighbours stands what chance gives (`nulls`), and the difference.

Source: https://arxiv.org/abs/2602.11162; bounds and nulls are ours.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrieval_lens.analysis.checks import require_settings
from retrieval_lens.analysis.drawing import Weights, resample_weights, unit_of
from retrieval_lens.analysis.nulls import bernoulli_jaccard
from retrieval_lens.analysis.step_sets import StepSets, gathered
from retrieval_lens.analysis.table import (
    Key,
    Values,
    measured,
    over,
    ratio_values,
    statistics_table,
)
from retrieval_lens.analysis.tally import Tally, tally
from retrieval_lens.errors import InputError
from retrieval_lens.heads import HeadSet
from retrieval_lens.scores import StepScore

KS = (20, 50, 100)  # Table 5


def dynamism(
    traces: Any,
    static: Any = None,
    *,
    score: str | StepScore = "copy_paste",
    ks: Iterable[Any] | None = None,
    n_resamples: int = 2000,
    confidence: float | int = 0.95,
    seed: int = 0,
    allow_overlap: bool = False,
) -> pd.DataFrame:
    """Tables 1 and 5 of the paper, with bounds, nulls and intervals; one row a statistic.

    Columns: `statistic`, `k`, `empty` (`count` or `skip`), `pooled` (`steps` or `examples`),
    `null` (`shuffled` or `bernoulli` in rows that tell of a null), `value`, `low` and `high`
    (bootstrap over examples, stratified by `meta["haystack"]`; examples with the same
    `meta["question_id"]` are drawn together; the static ranking stays fixed), and the
    `n_examples` and `n_steps` (or pairs of steps) that the value rests on. The page on dynamism
    says what each statistic is.

    `low` and `high` are NaN with one example, or one question, for `unique_heads` (a resample
    holds fewer distinct examples, so its count is no guide), and where a resample leaves a
    statistic undefined.

    Source: Tables 1 and 5 of
    [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162); bounds and
    nulls are ours.

    Args:
        traces: Traces or StepSets of one model, each example once.
        static: HeadSet that ranks static heads, strongest first, from other examples; or None.
        score: Which score makes a head active, for traces.
        ks: How many heads of the ranking to compare with; None: those of 20, 50 and 100 that it
            has.
        n_resamples: How often examples are drawn anew.
        confidence: Of the intervals.
        seed: Of the draws.
        allow_overlap: Accept a ranking that was chosen on these examples.

    Raises:
        InputError: No trace, an example twice, different models, or a static set that was chosen
            on these examples, lies outside the model or is shorter than a `k`.
        UnknownNameError: No such score in a trace.
        NumericalError: A score is NaN.

    Examples:
        ```python
        frame = rl.analysis.dynamism([trace], n_resamples=100)
        frame[frame.statistic == "mean_active"]
        ```
    """
    require_settings(n_resamples, confidence, seed)
    found = gathered(traces, score)
    chosen = _ks(static, ks, found, allow_overlap)
    n_heads = found[0].shape[1]
    ranking = None if static is None else [layer * n_heads + head for layer, head in static]
    sums = tally([one.flat for one in found], ranking, chosen)
    strata = [one.meta.get("haystack", one.meta.get("dataset")) for one in found]
    units = [unit_of(one) for one in found]
    weights = resample_weights(len(found), strata, n_resamples, seed, units)
    frame = statistics_table(
        lambda weights: _values(sums, weights), lambda key: _support(sums, key), weights, confidence
    )
    # one unit never varies, and its interval would have no width
    return frame if len(set(units)) > 1 else frame.assign(low=np.nan, high=np.nan)


def _ks(
    static: Any, ks: Iterable[Any] | None, found: Sequence[StepSets], overlap: bool
) -> tuple[int, ...]:
    """The sizes to compare with, once the ranking is fit for it."""
    if static is None:
        if ks is not None:
            raise InputError(f"ks={ks!r} without a static ranking; pass static=")
        return ()
    if not isinstance(static, HeadSet):
        raise InputError(f"static must be a HeadSet, not {type(static).__name__}")
    static.require_within(*found[0].shape)
    if not overlap:
        static.require_unseen(one.example_id for one in found)
    chosen = tuple(k for k in KS if k <= len(static)) if ks is None else tuple(ks)
    if not chosen:
        raise InputError(
            f"nothing to compare with: ks={ks!r}, and the static ranking has {len(static)} heads; "
            f"pass ks=({len(static)},), or a longer ranking (static_heads with k=None)"
        )
    for k in chosen:
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= len(static):
            raise InputError(
                f"k={k!r}: wanted a whole number in 1..{len(static)}, the heads of the static "
                "ranking; static_heads with k=None ranks all heads"
            )
    return tuple(sorted({int(k) for k in chosen}))


def _values(sums: Tally, weights: Weights) -> Values:
    """Every statistic at each row of weights."""
    found = ratio_values(sums.ratios, weights)
    counts = weights @ sums.counts
    spread = np.exp(_entropy(over(counts, counts.sum(1, keepdims=True))))
    for empty, steps in (("count", sums.n_steps), ("skip", sums.n_filled)):
        mean, n_steps = found[Key("mean_active", None, empty)], weights @ steps
        variance = over(weights @ sums.squares, n_steps) - mean**2
        found[Key("std_active", None, empty)] = np.sqrt(variance.clip(min=0))
        found[Key("entropy_raw", None, empty)] = _entropy(over(counts, n_steps[:, None]))
        found[Key("effective_heads", None, empty)] = over(spread, mean)
    n_heads = np.full(len(weights), float(counts.shape[1]))
    unique = (counts > 0).sum(1).astype(np.float64)
    found |= {
        Key("unique_heads"): unique,
        Key("unique_share"): unique / n_heads,
        Key("total_heads"): n_heads,
        Key("entropy"): np.log(spread),
        Key("exp_entropy"): spread,
    }
    return found | _bernoulli(over(counts, (weights @ sums.n_steps)[:, None]), found)


def _bernoulli(p: Float[np.ndarray, "resample head"], found: Values) -> Values:
    """Adjacent Jaccard of heads that switch by themselves, and the measured one minus it."""
    rows = {}
    for empty, null in zip(("count", "skip"), bernoulli_jaccard(p), strict=True):
        key = Key("adjacent_jaccard", None, empty, null="bernoulli")
        rows[key] = null
        rows[key._replace(statistic="adjacent_jaccard_excess")] = (
            found[key._replace(null=None)] - null
        )
    return rows


def _entropy(p: Float[np.ndarray, "resample head"]) -> Float[np.ndarray, " resample"]:
    """−Σ p ln p, heads with p = 0 adding nothing; NaN where p is."""
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(1)


def _support(sums: Tally, key: Key) -> Float[np.ndarray, " example"]:
    """Steps or pairs of each example that a statistic rests on."""
    if measured(key) in sums.ratios:
        return sums.ratios[measured(key)].n
    return sums.n_filled if key.empty == "skip" else sums.n_steps
