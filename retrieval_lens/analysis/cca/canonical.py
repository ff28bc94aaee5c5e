"""Canonical correlation analysis (CCA) that can be applied to data it was not fitted on.

1. Both sides are centred and whitened: the eigenvectors of the correlation matrix, each divided by
   its standard deviation. Directions without variance are left out, so that collinear and constant
   columns do no harm.
2. The singular values of the whitened cross-covariance are the canonical correlations, its singular
   vectors the directions of the canonical variates.
3. On other data the fitted directions stay as they are: a correlation there may be negative, and
   need not fall from one component to the next.

Source: Hotelling, 1936, https://doi.org/10.1093/biomet/28.3-4.321
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, sparse

from retrieval_lens.analysis.drawing import Weights
from retrieval_lens.errors import InputError

NO_VARIANCE = 1e-10  # relative; below it, a column is constant but for rounding
LEAST_PAIRS = 3  # any two points lie on a line


@dataclass(frozen=True, eq=False)
class CanonicalCorrelation:
    """Directions of two sides whose projections correlate most.

    Attributes:
        correlations: `[component]`, of the data that it was fitted on, largest first, in [0, 1].
        x_mean: `[x_feature]`.
        y_mean: `[y_feature]`.
        x_weights: `[x_feature, component]`; variates have variance 1 in the data of the fit.
        y_weights: `[y_feature, component]`.
    """

    correlations: Float[np.ndarray, " component"]
    x_mean: Float[np.ndarray, " x_feature"]
    y_mean: Float[np.ndarray, " y_feature"]
    x_weights: Float[np.ndarray, "x_feature component"]
    y_weights: Float[np.ndarray, "y_feature component"]

    @classmethod
    def fit(
        cls,
        x: Float[np.ndarray, "pair x_feature"],
        y: Float[np.ndarray, "pair y_feature"],
        n_components: int,
        least_variance: float = NO_VARIANCE,
    ) -> "CanonicalCorrelation":
        """The strongest canonical correlations of two sides.

        Args:
            x: One row a pair.
            y: The other side of the same pairs.
            n_components: At most so many; fewer if a side has fewer independent directions.
            least_variance: A direction whose share of the largest variance (of columns scaled to
                variance 1) is smaller is left out. What hardly varies here is blown up by
                whitening, and need not be small in other data.

        Raises:
            InputError: Fewer than three pairs, or a side that does not vary.

        Examples:
            >>> x = np.array([[1.0], [2.0], [3.0], [4.0]])
            >>> y = np.array([[1.0], [3.0], [2.0], [4.0]])
            >>> CanonicalCorrelation.fit(x, y, 1).correlations.round(3).tolist()
            [0.8]
        """
        if len(x) < LEAST_PAIRS:
            raise InputError(f"received {len(x)} pairs; wanted at least {LEAST_PAIRS} for a CCA")
        x_mean, y_mean = x.mean(0), y.mean(0)
        x_centred, y_centred = x - x_mean, y - y_mean
        x_white = _whitening(x_centred, np.abs(x).max(0, initial=0), least_variance)
        y_white = _whitening(y_centred, np.abs(y).max(0, initial=0), least_variance)
        for side, white in (("first", x_white), ("second", y_white)):
            if not white.shape[1]:
                raise InputError(f"the {side} side does not vary over the {len(x)} pairs")
        cross = x_white.T @ (x_centred.T @ y_centred / len(x)) @ y_white
        left, correlations, right = linalg.svd(cross, full_matrices=False)
        return cls(
            # rounding may leave a perfect correlation a hair above 1
            correlations=correlations[:n_components].clip(max=1.0),
            x_mean=x_mean,
            y_mean=y_mean,
            x_weights=x_white @ left[:, :n_components],
            y_weights=y_white @ right[:n_components].T,
        )

    @property
    def n_components(self) -> int:
        """Pairs of canonical variates."""
        return len(self.correlations)

    def transform(
        self, x: Float[np.ndarray, "pair x_feature"], y: Float[np.ndarray, "pair y_feature"]
    ) -> tuple[Float[np.ndarray, "pair component"], Float[np.ndarray, "pair component"]]:
        """Canonical variates of both sides, by the directions of the fit."""
        return (x - self.x_mean) @ self.x_weights, (y - self.y_mean) @ self.y_weights


def weighted_correlations(
    a: Float[np.ndarray, "pair component"],
    b: Float[np.ndarray, "pair component"],
    example: Int[np.ndarray, " pair"],
    weights: Weights,
) -> Float[np.ndarray, "resample component"]:
    """Correlation of each column of `a` with that of `b`, every example counted by its weight.

    Args:
        a: Variates of one side.
        b: Variates of the other.
        example: Which example a pair belongs to, an index into the weights.
        weights: How often each example counts.

    Returns:
        Signed; NaN where a variate does not vary, and with fewer than three pairs.

    Examples:
        >>> a, example = np.array([[1.0], [2.0], [3.0], [9.0]]), np.array([0, 0, 0, 1])
        >>> weighted_correlations(a, -a, example, np.array([[1.0, 0.0]])).tolist()
        [[-1.0]]
    """
    if len(a) < LEAST_PAIRS:
        return np.full((len(weights), a.shape[1]), np.nan)
    # centred at first, so that the differences of sums below lose no digits
    a, b = a - a.mean(0), b - b.mean(0)
    place = (example, np.arange(len(a)))
    sums = sparse.csr_array((np.ones(len(a)), place), (weights.shape[1], len(a)))
    n = weights @ sums.sum(1)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_a, mean_b, aa, bb, ab = (
            weights @ (sums @ part) / n for part in (a, b, a * a, b * b, a * b)
        )
        variance_a, variance_b = aa - mean_a**2, bb - mean_b**2
        found = (ab - mean_a * mean_b) / np.sqrt(variance_a * variance_b)
    varies = (variance_a > NO_VARIANCE * aa) & (variance_b > NO_VARIANCE * bb)
    return np.where(varies, found.clip(-1, 1), np.nan)


def _whitening(
    centred: Float[np.ndarray, "pair feature"],
    size: Float[np.ndarray, " feature"],
    least_variance: float,
) -> Float[np.ndarray, "feature direction"]:
    """Weights that turn centred columns into uncorrelated ones of variance 1."""
    covariance = centred.T @ centred / len(centred)
    spread = np.sqrt(np.diagonal(covariance))
    varies = spread > NO_VARIANCE * size
    weights = np.zeros((len(size), int(varies.sum())))
    if not varies.any():
        return weights
    scale = spread[varies]
    # of the correlations, not the covariances: columns may be of very different sizes
    values, vectors = linalg.eigh(covariance[np.ix_(varies, varies)] / np.outer(scale, scale))
    kept = values > least_variance * values[-1]
    weights = weights[:, : int(kept.sum())]
    weights[varies] = vectors[:, kept] / scale[:, None] / np.sqrt(values[kept])
    return weights
