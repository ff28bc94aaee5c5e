"""Metrics of a probe as functions of weighted sums over examples.

1. Everything is summed within each example: hits and misses at the threshold, counts in classes of
   equal score for the precision-recall curve, squared errors and squared scores.
2. A metric is a function of weighted sums over examples: all weights 1 give the value, how often
   an example was drawn gives a resample.
3. Average precision needs an order of all scores. Up to `CLASSES` different scores it is exact.
   With more, they are cut into as many quantile classes for the resamples, and their values are
   shifted by what that changes; the value itself is scikit-learn's.
4. A metric that would divide by zero is NaN: recall without an active head, precision where nothing
   is predicted, R² where the scores do not vary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import average_precision_score, precision_recall_curve

from retrieval_lens.analysis.drawing import Weights
from retrieval_lens.analysis.table import over

CLASSES, BINS = 4096, 10
Scores = Float[np.ndarray, "pair label"]
Labels = Bool[np.ndarray, "pair label"]
Owners = Int[np.ndarray, " pair"]
Values = dict[str, Float[np.ndarray, " resample"]]


def best_threshold(scores: Scores, truth: Labels) -> float:
    """The threshold (a head is predicted at or above it) with the largest micro F1.

    Of thresholds with the same F1 it is the lowest.
    """
    precision, recall, thresholds = precision_recall_curve(truth.ravel(), scores.ravel())
    f1 = over(2 * precision * recall, precision + recall)[:-1]
    return float(thresholds[np.nanargmax(f1)])


def average_precision(scores: Float[np.ndarray, "..."], truth: Bool[np.ndarray, "..."]) -> float:
    """Area under the precision-recall curve, as scikit-learn has it; NaN without a true label."""
    if not truth.any():
        return float("nan")
    return float(average_precision_score(truth.ravel(), scores.ravel()))


@dataclass(frozen=True, eq=False)
class LabelSums:
    """What the examples add to the metrics of a classifier.

    Attributes:
        counts: `[3, example]`: true positives, false positives, false negatives.
        curve: `[2, example, class]`: positives and all labels in each class of scores.
        shift: Average precision minus that of the classes.
        bins: `[3, example, bin]`: labels, sum of probabilities and positives in each tenth of
            probability; None for scores that are no probabilities.
    """

    counts: Float[np.ndarray, "3 example"]
    curve: Float[np.ndarray, "2 example class"]
    shift: float
    bins: Float[np.ndarray, "3 example bin"] | None

    @classmethod
    def of(
        cls,
        scores: Scores,
        truth: Labels,
        owner: Owners,
        n_examples: int,
        threshold: float,
        probabilities: bool,
    ) -> "LabelSums":
        """Sum predictions against labels within each example."""
        predicted = scores >= threshold
        hits = (predicted & truth, predicted & ~truth, ~predicted & truth)
        counts = np.stack([_counted(owner, hit.sum(1), n_examples) for hit in hits])
        edges = _edges(scores, truth)
        place = np.searchsorted(edges, scores, side="right")
        everything = np.ones(scores.shape)
        curve = [
            _tally(place, part, owner, n_examples, len(edges) + 1) for part in (truth, everything)
        ]
        found = np.stack(curve)
        binned = float(_area(np.ones((1, n_examples)), found)[0])
        bins = None
        if probabilities:
            tenth = np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)
            parts = (everything, scores, truth)
            bins = np.stack([_tally(tenth, part, owner, n_examples, BINS) for part in parts])
        return cls(counts, found, average_precision(scores, truth) - binned, bins)

    def values(self, weights: Weights) -> Values:
        """Every metric at each row of weights."""
        hit, false, missed = (weights @ part for part in self.counts)
        found = {
            "precision": over(hit, hit + false),
            "recall": over(hit, hit + missed),
            "f1": over(2 * hit, 2 * hit + false + missed),
            "auprc": _area(weights, self.curve) + self.shift,
        }
        if self.bins is not None:
            n, predicted, observed = (weights @ part for part in self.bins)
            error = np.abs(predicted - observed).sum(1)
            found["expected_calibration_error"] = over(error, n.sum(1))
        return found


@dataclass(frozen=True, eq=False)
class ErrorSums:
    """What the examples add to the metrics of a regressor.

    Attributes:
        n: `[example]`, pairs.
        absolute: `[example]`, absolute errors, mean over heads.
        squared: `[example, label]`, squared errors.
        first: `[example, label]`, scores, less a constant of each head.
        second: `[example, label]`, their squares.
        base: `[label]`, that constant.
    """

    n: Float[np.ndarray, " example"]
    absolute: Float[np.ndarray, " example"]
    squared: Float[np.ndarray, "example label"]
    first: Float[np.ndarray, "example label"]
    second: Float[np.ndarray, "example label"]
    base: Float[np.ndarray, " label"]

    @classmethod
    def of(cls, scores: Scores, truth: Scores, owner: Owners, n_examples: int) -> "ErrorSums":
        """Sum errors within each example."""
        error = scores.astype(np.float64) - truth
        # less the first score: a head that never changes then has exactly no variance
        base = truth[0].astype(np.float64) if len(truth) else np.zeros(truth.shape[1])
        centred = truth.astype(np.float64) - base
        return cls(
            n=_counted(owner, np.ones(len(owner)), n_examples),
            absolute=_counted(owner, np.abs(error).mean(1), n_examples),
            squared=_by_example(error**2, owner, n_examples),
            first=_by_example(centred, owner, n_examples),
            second=_by_example(centred**2, owner, n_examples),
            base=base,
        )

    def values(self, weights: Weights) -> Values:
        """Every metric at each row of weights.

        Heads that do not vary are left out of the mean and variance-weighted R².
        """
        n = weights @ self.n
        residual, first, second = (
            weights @ part for part in (self.squared, self.first, self.second)
        )
        heads = _r2(residual, _variation(first, second, n[:, None]))
        varying = ~np.isnan(heads)
        total = np.where(varying, _variation(first, second, n[:, None]), 0).sum(1)
        n_heads = residual.shape[1]
        shifted = first + n[:, None] * self.base
        squares = (second + 2 * self.base * first + n[:, None] * self.base**2).sum(1)
        flat = _variation(shifted.sum(1), squares, n * n_heads)
        return {
            "mse": over(residual.sum(1), n * n_heads),
            "mae": over(weights @ self.absolute, n),
            "r2_flat": _r2(residual.sum(1), flat),
            "r2_mean_over_heads": over(
                np.nan_to_num(heads).sum(1), varying.sum(1, dtype=np.float64)
            ),
            "r2_variance_weighted": _r2(np.where(varying, residual, 0).sum(1), total),
        }


def _variation(
    first: Float[np.ndarray, "..."], second: Float[np.ndarray, "..."], n: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Squared deviations from the mean; exactly 0 where only rounding is left of them."""
    found = second - over(first**2, n)
    return np.where(found > 1e-12 * second, found, 0.0)


def _r2(
    residual: Float[np.ndarray, "..."], variation: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    return 1 - over(residual, variation)


def _counted(place: Int[np.ndarray, " _"], values: Any, n: int) -> Float[np.ndarray, " place"]:
    """Sums of `values` at each place, numbers with a point even where there are none."""
    return np.bincount(place, values, n).astype(np.float64)


def _by_example(
    values: Float[np.ndarray, "pair label"], owner: Owners, n_examples: int
) -> Float[np.ndarray, "example label"]:
    sums = torch.zeros(n_examples, values.shape[1], dtype=torch.float64)
    return sums.index_add_(0, torch.from_numpy(owner), torch.from_numpy(values)).numpy()


def _edges(scores: Scores, truth: Labels) -> Float[np.ndarray, " edge"]:
    """Lower ends of all classes of scores but the first."""
    distinct = np.unique(scores)
    if len(distinct) <= CLASSES:
        return distinct[1:]
    # half of the classes by positives, on which the curve turns, half by all scores
    shares = np.linspace(0, 1, CLASSES // 2)
    parts = [scores.ravel(), scores[truth]] if truth.any() else [scores.ravel()]
    return np.unique([np.quantile(part, shares, method="lower") for part in parts])


def _tally(
    place: Int[np.ndarray, "pair label"],
    values: Float[np.ndarray, "pair label"] | Labels,
    owner: Owners,
    n_examples: int,
    n_places: int,
) -> Float[np.ndarray, "example place"]:
    """Sums of `values` by example and place."""
    where = (owner[:, None] * n_places + place).ravel()
    sums = _counted(where, values.ravel(), n_examples * n_places)
    return sums.reshape(n_examples, n_places)


def _area(
    weights: Weights, curve: Float[np.ndarray, "2 example class"]
) -> Float[np.ndarray, " resample"]:
    """Average precision: at each class from the highest on, new recall times precision."""
    positives, everything = (weights @ part for part in curve)
    hits, n = (np.cumsum(part[:, ::-1], 1) for part in (positives, everything))
    gained = (np.nan_to_num(over(hits, n)) * positives[:, ::-1]).sum(1)
    return over(gained, hits[:, -1])
