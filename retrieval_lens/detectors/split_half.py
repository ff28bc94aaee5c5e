"""Split-half stability: how alike a detector ranks heads on two halves of its examples.

1. The examples that count are shuffled and cut into two halves; with an odd number one is left out.
   The layouts of one question go to one half together, and halves have as many questions.
2. Each half gives a score to every head; Spearman's rank correlation between the two, and the
   overlap of their top k (ties at the cut drawn by lot), are the stability.
3. Both are averaged over many random splits. They are for half of the examples: no Spearman-Brown
   correction is made.
"""

from math import nan
from operator import index
from random import Random
from typing import Any

import numpy as np

from retrieval_lens.detectors.agreement import places, spearman
from retrieval_lens.detectors.detection import Detection
from retrieval_lens.errors import InputError


def split_half(
    detection: Detection, k: Any = 20, *, n_splits: Any = 100, seed: Any = 0
) -> dict[str, Any]:
    """Agreement of a detection with itself.

    Args:
        detection: Two examples at least must count, of two questions where it knows of questions.
        k: How many of the strongest heads are compared.
        n_splits: Random splits; the same seed draws the same ones.
        seed: Of the draw.

    Returns:
        `rank_correlation` and `overlap`, means over splits; `n_splits`; `n_correlated`, the splits
        that have a correlation (a half in which all heads score alike has none); `n_used`, the
        examples that count; `note`, why a number is NaN, or None.

    Raises:
        InputError: `k` or `n_splits` below 1, or more heads asked for than there are.

    Examples:
        ```python
        mean = rl.detectors.ScoreMean()
        split_half = rl.detectors.split_half(mean.from_traces([trace], [example]), k=5)
        assert split_half["note"] == "1 example counts; two halves need at least 2"
        ```
    """
    n_all = detection.scores.numel()
    k, n_splits, draw = count_of("k", k), count_of("n_splits", n_splits), Random(index(seed))
    if k > n_all:
        raise InputError(f"k must be in 1..{n_all}, the heads of the model; got {k}")
    units, rhos, overlaps = detection.units, [], []
    found = {"n_splits": n_splits, "n_used": len(detection.used)}
    if len(units) < 2:
        what = "example" if found["n_used"] == 1 else "question"
        note = f"1 {what} counts; two halves need at least 2"
        return {"rank_correlation": nan, "overlap": nan, "n_correlated": 0, **found, "note": note}
    for _ in range(n_splits):
        shuffled, half = draw.sample(units, len(units)), len(units) // 2
        halves = (sum(part, []) for part in (shuffled[:half], shuffled[half : 2 * half]))
        x, y = (detection.scores_of(part).flatten().numpy() for part in halves)
        rho, note = spearman(x.tolist(), y.tolist())
        rhos += [rho] if note is None else []
        overlaps.append(float(_chances(x, k) @ _chances(y, k)) / k)
    return {
        "rank_correlation": float(np.mean(rhos)) if rhos else nan,
        "overlap": float(np.mean(overlaps)),
        "n_correlated": len(rhos),
        **found,
        "note": None if rhos else "in every split all heads of a half score alike",
    }


def count_of(name: str, value: Any) -> int:
    """`value` as a whole number from 1.

    Raises:
        InputError: It is none.
    """
    try:
        count = 0 if isinstance(value, bool) else index(value)
    except TypeError:
        count = 0
    if count < 1:
        raise InputError(f"{name} is a whole number from 1, not {value!r}")
    return count


def _chances(scores: np.ndarray, k: int) -> np.ndarray:
    """The chance of each head to be in the top `k`."""
    order = np.argsort(-scores, kind="stable")
    chances, _ = places(scores[order].tolist(), k)
    found = np.zeros(len(scores))
    found[order[: len(chances)]] = chances
    return found
