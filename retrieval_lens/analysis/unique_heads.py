"""How many heads were ever active, against the number of steps looked at.

1. Examples come in a random order, the steps of each in their own.
2. A head counts from the step on at which it is first active.
3. Mean and spread over many orders. A curve that still rises says that the count is one of the
   corpus, not of the model.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from retrieval_lens.analysis.checks import require_settings
from retrieval_lens.analysis.drawing import percentile_ends
from retrieval_lens.analysis.step_sets import gathered
from retrieval_lens.errors import InputError
from retrieval_lens.scores import StepScore


def unique_heads_curve(
    traces: Any,
    *,
    score: str | StepScore = "copy_paste",
    n_points: int = 60,
    n_orders: int = 200,
    confidence: float | int = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Heads active at least once against the number of steps.

    Columns: `n_steps`, `value` (mean over orders of the examples), `low` and `high` (spread over
    the orders, no interval of an estimate; it ends at 0 width where all steps are in), `share` (of
    all heads) and `total_heads`.

    Args:
        traces: Traces or StepSets of one model, each example once.
        score: Which score makes a head active, for traces.
        n_points: At most so many numbers of steps, from 1 to all, closer together at the start.
        n_orders: How many random orders of the examples.
        confidence: Share of the orders between `low` and `high`.
        seed: Of the orders.

    Raises:
        InputError: No trace, an example twice, different models, or a parameter out of range.
        UnknownNameError: No such score in a trace.
        NumericalError: A score is NaN.

    Examples:
        ```python
        rl.analysis.unique_heads_curve([trace]).tail(1)
        ```
    """
    require_settings(n_orders, confidence, seed)
    if n_points < 2:
        raise InputError(f"n_points={n_points}: a curve needs at least 2")
    sets = [one.flat for one in gathered(traces, score)]
    lengths = np.array([len(active) for active in sets])
    first = np.stack([np.where(active.any(0), active.argmax(0), np.inf) for active in sets])
    total, n_heads = int(lengths.sum()), first.shape[1]
    # most heads turn up early: the points stand closer there
    spaced = np.geomspace(1, total, n_points).round().astype(int)
    at = np.arange(1, total + 1) if total <= n_points else np.unique(spaced)
    rng = np.random.default_rng(seed)
    counts = np.stack(
        [_counted(first, lengths, rng.permutation(len(sets)), at) for _ in range(n_orders)], -1
    )
    low, high = percentile_ends(counts, confidence)
    mean = counts.mean(-1)
    return pd.DataFrame(
        {"n_steps": at, "value": mean, "low": low, "high": high, "share": mean / n_heads}
        | {"total_heads": n_heads}
    )


def _counted(
    first: Float[np.ndarray, "example head"],
    lengths: Int[np.ndarray, " example"],
    order: Int[np.ndarray, " example"],
    at: Int[np.ndarray, " point"],
) -> Float[np.ndarray, " point"]:
    """Heads seen within the first steps, the examples taken in one order."""
    starts = np.concatenate([[0], lengths[order].cumsum()[:-1]])
    seen = np.sort((first[order] + starts[:, None]).min(0))
    return np.searchsorted(seen, at, side="left").astype(np.float64)
