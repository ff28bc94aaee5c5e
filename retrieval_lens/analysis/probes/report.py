"""How good a probe is on one set of pairs, beside what is known without the hidden state.

1. The probe and every baseline give a score to each head at each pair, and have a threshold of
   their own, chosen on the probe's validation side.
2. Metrics pool all heads and pairs (micro), on all target steps and on those with an active head.
3. The headline is the gain of the probe over the base rate; the same examples are drawn for both,
   so its interval is a paired one.
4. Beside them: metrics of each head, and whether predicted probabilities are observed shares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from retrieval_lens.analysis.drawing import BATCH, Weights, percentile_ends, resample_weights
from retrieval_lens.analysis.probes.baselines import NAMES
from retrieval_lens.analysis.probes.metrics import (
    BINS,
    ErrorSums,
    LabelSums,
    Scores,
    Values,
    average_precision,
)
from retrieval_lens.analysis.probes.pairs import Pairs
from retrieval_lens.analysis.table import over
from retrieval_lens.errors import InputError

STEPS = ("all", "non_empty")
NO_PROBABILITIES = "previous_scores"
Sums = LabelSums | ErrorSums


@dataclass(frozen=True, eq=False)
class ProbeReport:
    """How good a probe is on some examples.

    Attributes:
        metrics: One row a predictor, steps and metric. `predictor` is `probe`, a baseline, `gain`
            (probe minus base rate, so that errors want it negative) or `gain_over_…` another
            baseline; `steps` is `all` or `non_empty` (a head is active at the target's step).
            `low` and `high` are the bootstrap interval over examples, the layouts of one question
            drawn together; NaN with one example, or one question.
        per_head: One row a head. Of a classifier: `n_positive` here, `base_rate` on the training
            side, `precision`, `recall`, `f1`, `auprc`, NaN for a head that never fires here (and
            precision where it is never predicted). Of a regressor: `base_rate`, `mse`, `r2`, NaN
            for a head whose score does not vary here.
        calibration: One row a tenth of probability that was predicted: `bin`, `mean_predicted`,
            `observed_share`, `n`. Without rows for a regressor.
        example_ids: The examples that it rests on.
        n_pairs: Pairs of a hidden state and a target.
        n_non_empty: Those with an active head at the target's step.
    """

    metrics: pd.DataFrame
    per_head: pd.DataFrame
    calibration: pd.DataFrame
    example_ids: tuple[str, ...]
    n_pairs: int
    n_non_empty: int

    def value(self, metric: str, predictor: str = "probe", steps: str = "all") -> float:
        """One number of `metrics`.

        Raises:
            InputError: There is no such row.
        """
        frame = self.metrics
        wanted = (frame.metric == metric) & (frame.predictor == predictor) & (frame.steps == steps)
        if not wanted.any():
            raise InputError(f"no row {predictor!r}, {steps!r}, {metric!r} among the metrics")
        return float(frame.value[wanted].iloc[0])


def report_on(
    predictions: Mapping[str, Scores],
    pairs: Pairs,
    base_rate: Any,
    shape: tuple[int, int],
    thresholds: Mapping[str, float],
    draws: tuple[int, float, int],
) -> ProbeReport:
    """Judge predictions.

    Args:
        predictions: Of the probe and of each baseline.
        pairs: What they are of.
        base_rate: `[label]`, of the training side.
        shape: Layers and heads.
        thresholds: Of each predictor; none for a regressor.
        draws: Number of resamples, confidence and seed.
    """
    n_resamples, confidence, seed = draws
    n_examples, varies = len(pairs.example_ids), len(set(pairs.units)) > 1
    weights = resample_weights(n_examples, pairs.strata, n_resamples, seed, pairs.units)
    targets, filled = pairs.targets.numpy(), pairs.filled.numpy()
    rows = []
    for steps, kept in zip(STEPS, (np.ones_like(filled), filled), strict=True):
        sums = {}
        for name, scores in predictions.items():
            parts = (scores[kept], targets[kept], pairs.owner.numpy()[kept])
            sums[name] = _sums(name, parts, n_examples, thresholds.get(name))
        rows += _rows(steps, sums, weights, confidence, varies)
    probe = predictions["probe"]
    return ProbeReport(
        metrics=pd.DataFrame(
            rows, columns=["predictor", "steps", "metric", "value", "low", "high"]
        ),
        per_head=_per_head(probe, targets, base_rate, shape, thresholds.get("probe")),
        calibration=_calibration(*(part if thresholds else part[:0] for part in (probe, targets))),
        example_ids=pairs.example_ids,
        n_pairs=len(pairs),
        n_non_empty=int(filled.sum()),
    )


def _sums(name: str, parts: tuple[Any, Any, Any], n_examples: int, threshold: float | None) -> Sums:
    scores, targets, owner = parts
    if threshold is None:
        return ErrorSums.of(scores, targets, owner, n_examples)
    probabilities = name != NO_PROBABILITIES
    return LabelSums.of(scores, targets > 0, owner, n_examples, threshold, probabilities)


def _rows(
    steps: str, sums: Mapping[str, Sums], weights: Weights, confidence: float, varies: bool
) -> list[tuple[Any, ...]]:
    """The probe, its baselines and its gains over them."""
    once = {name: one.values(np.ones((1, weights.shape[1]))) for name, one in sums.items()}
    drawn = {name: _drawn(one, weights) for name, one in sums.items()}
    for name in NAMES:
        gain = "gain" if name == "base_rate" else f"gain_over_{name}"
        for found in (once, drawn):
            probe = found["probe"]
            found[gain] = {metric: probe[metric] - value for metric, value in found[name].items()}
    rows = []
    for name, found in once.items():
        for metric, value in found.items():
            ends = (np.nan, np.nan)
            if varies:
                ends = tuple(float(end) for end in percentile_ends(drawn[name][metric], confidence))
            rows.append((name, steps, metric, float(value[0]), *ends))
    return rows


def _drawn(sums: Sums, weights: Weights) -> Values:
    parts = [sums.values(part) for part in np.array_split(weights, -(-len(weights) // BATCH))]
    return {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}


def _per_head(
    scores: Scores, targets: Scores, base_rate: Any, shape: tuple[int, int], threshold: float | None
) -> pd.DataFrame:
    layer, head = np.divmod(np.arange(scores.shape[1]), shape[1])
    frame = pd.DataFrame({"layer": layer, "head": head, "base_rate": np.asarray(base_rate)})
    if threshold is None:
        sums = ErrorSums.of(scores, targets, np.zeros(len(scores), np.int64), 1)
        error, variation = sums.squared[0], sums.second[0] - sums.first[0] ** 2 / len(scores)
        varies = variation > 1e-12 * sums.second[0]
        r2 = 1 - over(error, np.where(varies, variation, 0.0))
        return frame.assign(mse=error / len(scores), r2=r2)
    truth, predicted = targets > 0, scores >= threshold
    hit, positive, fired = (
        part.sum(0, dtype=np.float64) for part in (truth & predicted, truth, predicted)
    )
    areas = [average_precision(scores[:, i], truth[:, i]) for i in range(scores.shape[1])]
    never = positive == 0
    return frame.assign(
        n_positive=positive.astype(np.int64),
        precision=np.where(never, np.nan, over(hit, fired)),
        recall=over(hit, positive),
        f1=np.where(never, np.nan, over(2 * hit, positive + fired)),
        auprc=areas,
    )


def _calibration(scores: Scores, targets: Scores) -> pd.DataFrame:
    """By tenth of probability, those without a prediction left out."""
    flat = scores.ravel()
    tenth = np.clip((flat * BINS).astype(np.int64), 0, BINS - 1)
    frame = pd.DataFrame({"bin": tenth, "mean_predicted": flat, "observed_share": targets.ravel()})
    groups = frame.astype({"mean_predicted": float, "observed_share": float}).groupby("bin")
    found = pd.DataFrame(groups.mean())
    return found.assign(n=groups.size()).reset_index()
