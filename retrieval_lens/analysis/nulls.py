"""What the similarity of two steps would be by chance, exactly instead of by drawing.

1. Shuffled: the steps of an example in random order. Two neighbours of a random order are any two
   steps alike, so the mean over all orders is the mean over all pairs of steps.
2. Bernoulli: every head is active by itself with its own share of steps p_h. With I heads in both
   steps and U in either, E[I/U] = Σ_h p_h² E[1 / (1 + U without h)], and E[1 / (1 + U)] is the
   integral from 0 to 1 of E[s^U] = Π_j (1 − q_j (1 − s)) ds, where q_j = 1 − (1 − p_j)².
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy.polynomial.legendre import leggauss

NODES = 64  # the integrand is a smooth polynomial; more nodes change no digit that is shown


def jaccard_matrix(
    a: Bool[np.ndarray, "step_a head"], b: Bool[np.ndarray, "step_b head"]
) -> Float[np.ndarray, "step_a step_b"]:
    """Jaccard of every set of `a` with every set of `b`; 1 where both are empty.

    Examples:
        >>> import numpy as np
        >>> jaccard_matrix(np.array([[True, True, False]]), np.array([[True, False, True]]))
        array([[0.33333333]])
    """
    both = a.astype(np.float64) @ b.astype(np.float64).T
    either = a.sum(1)[:, None] + b.sum(1)[None, :] - both
    return np.divide(both, either, out=np.ones_like(both), where=either > 0)


def bernoulli_jaccard(
    p: Float[np.ndarray, "resample head"],
) -> tuple[Float[np.ndarray, " resample"], Float[np.ndarray, " resample"]]:
    """Expected Jaccard of two steps whose heads are active independently with `p`.

    Returns:
        With two empty steps counted as 1, and over pairs of non-empty steps alone (NaN if no
        head is ever active).

    Examples:
        >>> import numpy as np
        >>> [float(found[0].round(6)) for found in bernoulli_jaccard(np.array([[1.0, 1.0]]))]
        [1.0, 1.0]
    """
    p = p[:, p.any(0)]
    q = 1 - (1 - p) ** 2
    shared = np.zeros(len(p))
    for node, weight in zip(*leggauss(NODES), strict=True):
        s = (node + 1) / 2
        kept = 1 - q * (1 - s)
        shared += weight / 2 * kept.prod(1) * (p**2 / kept).sum(1)
    empty = (1 - p).prod(1)
    filled = (1 - empty) ** 2
    skip = np.divide(shared, filled, out=np.full(len(p), np.nan), where=filled > 0)
    return shared + empty**2, skip
