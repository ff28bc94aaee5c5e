"""The two sides of the CCA at one offset, and what is asked of them.

1. One side is the hidden state, the baselines, or both side by side; the other the scores.
2. Both are there for every step, so that any pairs can be fitted and any other pairs judged.
3. Three statistics: the first correlation, and the means of the first ten and fifty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from retrieval_lens.analysis.cca.canonical import (
    LEAST_PAIRS,
    CanonicalCorrelation,
    weighted_correlations,
)
from retrieval_lens.analysis.cca.features import Projection, earlier_score_pcs, projected
from retrieval_lens.analysis.cca.pairs import Pairs, StepTable
from retrieval_lens.analysis.cca.settings import CcaSettings
from retrieval_lens.analysis.drawing import Weights, percentile_ends
from retrieval_lens.errors import InputError

LEAST_VARIANCE = 1e-4  # of a direction of the baselines, whose blocks are nearly collinear
STATISTICS = {"top1": 1, "mean10": 10, "mean50": 50}

Row = dict[str, Any]
Correlations = Float[np.ndarray, "draw component"]


@dataclass(frozen=True, eq=False)
class Sides:
    """Features and scores of every row of the table at one offset.

    Attributes:
        offset: Steps between them.
        x: `[row, feature]`, one for each set of features.
        scores: PCs of the scores.
        counts: PCs and constant heads of each set of features.
    """

    offset: int
    x: Mapping[str, Float[np.ndarray, "_ _"]]
    scores: Projection
    counts: Mapping[str, Row]

    def fit(self, features: str, pairs: Pairs, n_components: int) -> CanonicalCorrelation:
        """Directions in one set of features and in the scores.

        Raises:
            InputError: Too few pairs, or a side that does not vary.
        """
        x, y = self.x[features][pairs.source], self.scores.pcs[pairs.target]
        try:
            return CanonicalCorrelation.fit(x, y, n_components, LEAST_VARIANCE)
        except InputError as error:
            raise InputError(
                f"offset {self.offset}, {features} and scores: {error}; wanted longer responses, "
                "more examples, smaller offsets, or n_nulls=0"
            ) from error

    def judge(
        self, features: str, cca: CanonicalCorrelation, pairs: Pairs, weights: Weights
    ) -> Correlations:
        """Correlations of the fitted variates, each example of the table with its weight."""
        a, b = cca.transform(self.x[features][pairs.source], self.scores.pcs[pairs.target])
        return weighted_correlations(a, b, pairs.example, weights)

    def rows(
        self,
        setting: str,
        features: str,
        steps: str,
        once: Correlations,
        draws: Float[np.ndarray, "_ component"] | None,
        support: Sequence[tuple[Pairs, Pairs]],
        confidence: float,
    ) -> list[Row]:
        """One row a statistic.

        Args:
            setting: What was done.
            features: Which set of features.
            steps: Which steps were judged.
            once: The correlations, in one row.
            draws: Those of the resamples or permutations; None for no interval.
            support: Pairs fitted and pairs judged; several for permutations, whose mean counts.
            confidence: Of the interval.
        """
        fitted, judged = zip(*support, strict=True)
        counts = {
            "n_train": _mean([len(pairs) for pairs in fitted]),
            "n_test": _mean([len(pairs) for pairs in judged]),
            "n_train_examples": _mean([pairs.n_examples for pairs in fitted]),
            "n_test_examples": _mean([pairs.n_examples for pairs in judged]),
            **self.counts[features],
            "n_components": once.shape[1],
        }
        found = []
        for name, most in STATISTICS.items():
            ends = (np.nan, np.nan)
            if draws is not None:
                ends = percentile_ends(draws[:, :most].mean(1), confidence)
            found.append(
                {"offset": self.offset, "setting": setting, "steps": steps, "statistic": name}
                | {"value": float(once[0, :most].mean())}
                | {"low": float(ends[0]), "high": float(ends[1]), **counts}
                | {"n_averaged": min(most, once.shape[1])}
            )
        return found


def require_pairs(table: StepTable, pairs: Pairs, offset: int) -> None:
    """Refuse pairs that are too few to correlate.

    Raises:
        InputError: Fewer than three.
    """
    if len(pairs) < LEAST_PAIRS:
        raise InputError(
            f"offset {offset}: only {len(pairs)} steps of {pairs.n_examples} examples can be used "
            f"(the longest response has {table.lengths.max()} steps); wanted at least "
            f"{LEAST_PAIRS} to train on and to test on: longer responses, more examples, or "
            "smaller offsets"
        )


def hidden_sides(
    table: StepTable, pairs: Pairs, offset: int, settings: CcaSettings, hidden: Projection
) -> Sides:
    """Hidden states and scores, the PCs of the scores fitted on `pairs`.

    Raises:
        InputError: Fewer than three pairs, or no head's score varies.
    """
    require_pairs(table, pairs, offset)
    scores = projected(table.scores, pairs.target, settings.score_variance, scaled=True)
    if not scores.n_pcs:
        raise InputError(
            f"offset {offset}: no head's score varies over {len(pairs)} steps, so nothing can "
            "correlate with it; wanted responses that retrieve at some steps, or another score"
        )
    counts = {"n_hidden_pcs": hidden.n_pcs, "n_baseline_pcs": 0, "n_score_pcs": scores.n_pcs}
    counts["n_constant_heads"] = scores.n_constant
    return Sides(offset, {"hidden": hidden.pcs}, scores, {"hidden": counts})


def all_sides(
    table: StepTable,
    train: Pairs,
    offset: int,
    settings: CcaSettings,
    hidden: Projection,
    context: Float[np.ndarray, "row pc"],
) -> Sides:
    """Hidden states, baselines, and both side by side, fitted on the training examples alone.

    Args:
        table: All steps.
        train: Pairs of the training examples.
        offset: Steps between hidden state and scores.
        settings: Shares of variance.
        hidden: PCs fitted on the training examples.
        context: PCs of tokens and step index, likewise.

    Raises:
        InputError: As in `hidden_sides`.
    """
    sides = hidden_sides(table, train, offset, settings, hidden)
    known = np.hstack([earlier_score_pcs(table, train.source, offset, settings), context])
    counts = sides.counts["hidden"] | {"n_baseline_pcs": known.shape[1]}
    return Sides(
        offset=offset,
        x={**sides.x, "baselines": known, "both": np.hstack([hidden.pcs, known])},
        scores=sides.scores,
        counts={**sides.counts, "baselines": counts | {"n_hidden_pcs": 0}, "both": counts},
    )


def _mean(counts: Sequence[int]) -> int:
    return round(sum(counts) / len(counts))
