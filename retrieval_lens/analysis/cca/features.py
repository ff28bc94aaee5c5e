"""What goes into the CCA: principal components (PCs) of hidden states, scores and baselines.

1. Hidden states: the PCs that hold 95 % of the variance.
2. Scores: every head scaled to [0, 1], then the PCs that hold 99 %. A constant head adds nothing.
3. Baselines, what is known at step n without the hidden state: the scores s_n (s_{n-1} at offset
   0, zeros before the first step), the tokens x_n and y_n, the step index as a number and as a
   category. Each block has its own PCs, so that none crowds out another; how large the columns of
   different blocks are does not matter to CCA. Categories rarer than `min_count` share one column.
4. Everything is fitted on the rows that are named, and applied to all.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

from retrieval_lens.analysis.cca.pairs import StepTable
from retrieval_lens.analysis.cca.settings import CcaSettings

NO_VARIANCE = 1e-12  # relative; such PCs are rounding

Rows = Int[np.ndarray, " _"]


@dataclass(frozen=True, eq=False)
class Projection:
    """PCs of every row.

    Attributes:
        pcs: `[row, pc]`.
        n_constant: Features that do not vary over the rows of the fit.
    """

    pcs: Float[np.ndarray, "row pc"]
    n_constant: int

    @property
    def n_pcs(self) -> int:
        """PCs kept."""
        return self.pcs.shape[1]


def projected(
    values: Float[np.ndarray, "row feature"],
    fit_rows: Rows,
    variance: float | int,
    scaled: bool = False,
) -> Projection:
    """PCs that hold a share of the variance.

    Args:
        values: One row a step.
        fit_rows: Where scaling and PCs are learned.
        variance: The share; 1 keeps all that vary.
        scaled: Scale every feature to [0, 1] first.

    Returns:
        No PC where no feature varies.
    """
    fit = values[fit_rows].astype(np.float64)
    varies = fit.max(0) > fit.min(0)
    n_constant = int((~varies).sum())
    if not varies.any():
        return Projection(np.zeros((len(values), 0)), n_constant)
    every, fit = values[:, varies].astype(np.float64), fit[:, varies]
    if scaled:
        scaler = MinMaxScaler().fit(fit)
        every, fit = scaler.transform(every), scaler.transform(fit)
    # the covariance's eigenvectors are the same PCs, and far cheaper with more rows than features
    solver = "covariance_eigh" if len(fit) >= fit.shape[1] else "full"
    pca = PCA(n_components=variance if variance < 1 else None, svd_solver=solver).fit(fit)
    kept = pca.explained_variance_ > NO_VARIANCE * pca.explained_variance_[0]
    return Projection(pca.transform(every)[:, kept], n_constant)


def context_pcs(
    table: StepTable, fit_rows: Rows, settings: CcaSettings
) -> Float[np.ndarray, "row pc"]:
    """Tokens and step index: the baselines that are the same at every offset."""
    blocks = [
        projected(_one_hot(ids, fit_rows, settings), fit_rows, settings.hidden_variance).pcs
        for ids in (table.inputs, table.tokens, table.step)
    ]
    return np.hstack([*blocks, table.step[:, None].astype(np.float64)])


def earlier_score_pcs(
    table: StepTable, fit_rows: Rows, offset: int, settings: CcaSettings
) -> Float[np.ndarray, "row pc"]:
    """The scores that are known: of step n, or of the step before where step n is the target."""
    known = table.scores
    if offset == 0:
        known = np.roll(table.scores, 1, axis=0)
        known[table.step == 0] = 0.0
    return projected(known, fit_rows, settings.score_variance, scaled=True).pcs


def _one_hot(
    ids: Int[np.ndarray, " row"], fit_rows: Rows, settings: CcaSettings
) -> Float[np.ndarray, "row category"]:
    encoder = OneHotEncoder(
        min_frequency=settings.min_count,
        handle_unknown="infrequent_if_exist",
        sparse_output=False,
    )
    return np.asarray(encoder.fit(ids[fit_rows, None]).transform(ids[:, None]))
