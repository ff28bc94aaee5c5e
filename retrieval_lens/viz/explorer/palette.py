"""Colours of the explorer: those of the other pictures, and the same turned round for dark pages.

A stop is (share of the scale, colour). Zero has the colour of the ground in both modes.
"""

from typing import Any

from retrieval_lens.viz.style import DIVERGING, SEQUENTIAL, Scale

DARK_GROUND = "#12161c"
# on a dark page the largest value is the lightest
DARK_SEQUENTIAL: Scale = [
    [0.0, DARK_GROUND],
    [0.15, "#14304f"],
    [0.5, "#1f6bb0"],
    [0.8, "#6aa7d8"],
    [1.0, "#eaf3fb"],
]
DARK_DIVERGING: Scale = [
    [0.0, "#ffd9b0"],
    [0.25, "#c26d1f"],
    [0.5, DARK_GROUND],
    [0.75, "#2f7fc4"],
    [1.0, "#eaf3fb"],
]


def scale(low: float, high: float) -> dict[str, Any]:
    """Range and stops of a score with these extremes; orange stands for negative values.

    Examples:
        >>> scale(0.0, 0.4)["high"], scale(-0.2, 0.1)["low"]
        (0.4, -0.2)
    """
    if low < 0:
        bound = max(-low, high)
        return {"low": -bound, "high": bound, "light": DIVERGING, "dark": DARK_DIVERGING}
    return {"low": 0.0, "high": high or 1.0, "light": SEQUENTIAL, "dark": DARK_SEQUENTIAL}
