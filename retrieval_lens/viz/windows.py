"""Which tokens of a long prompt to show, and how to write the gaps between them."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

SMALL_GAP = 2  # tokens that take less room than the note that they were left out


def shown_positions(
    centres: Iterable[int], window: int, n_positions: int
) -> Int[np.ndarray, " shown"]:
    """Positions at most `window` tokens from a centre, ascending; small gaps are filled.

    Examples:
        >>> shown_positions([0, 9], window=1, n_positions=11).tolist()
        [0, 1, 8, 9, 10]
        >>> shown_positions([0, 5], window=1, n_positions=11).tolist()
        [0, 1, 2, 3, 4, 5, 6]
    """
    shown = np.zeros(n_positions, dtype=bool)
    for centre in centres:
        shown[max(0, centre - window) : centre + window + 1] = True
    positions = np.flatnonzero(shown)
    for before, after in zip(positions, positions[1:], strict=False):
        if after - before <= SMALL_GAP + 1:
            shown[before:after] = True
    return np.flatnonzero(shown)


def runs(positions: Int[np.ndarray, " shown"]) -> list[list[int]]:
    """Split ascending positions into runs of neighbours.

    Examples:
        >>> runs(np.array([0, 1, 5, 6]))
        [[0, 1], [5, 6]]
    """
    breaks = np.flatnonzero(np.diff(positions) > 1) + 1
    return [run.tolist() for run in np.split(positions, breaks)]
