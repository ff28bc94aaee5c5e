"""White over the cells of a heat map that rest on little, as opaque as shares are missing.

The numbers of cells that become pale stand on the veil, in dark: below it they would be white on
white.
"""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from retrieval_lens.errors import InputError
from retrieval_lens.viz.style import DARK

MOST_VEIL = 0.85  # so that the number in a cell without valid examples can still be read
PALE = 0.3  # from here on the cell's own number may be white
_SCALE = [[0.0, "rgba(255, 255, 255, 0)"], [1.0, "rgba(255, 255, 255, 1)"]]


def veiled(heat: go.Heatmap, shares: Float[np.ndarray, "y x"], name: str) -> list[go.Heatmap]:
    """The heat map, and the veil to draw over it.

    Args:
        heat: A cell without a value gets no veil. Its numbers are written where it has a
            `texttemplate`.
        shares: From 0, which veils most, to 1.
        name: Of the column that holds them.

    Raises:
        InputError: A share below 0 or above 1.

    Examples:
        >>> _, veil = veiled(go.Heatmap(z=[[1.0, 2.0]]), np.array([[1.0, 0.0]]), "valid")
        >>> veil.z.tolist()
        [[0.0, 0.85]]
    """
    if (shares < 0).any() or (shares > 1).any():
        raise InputError(f"column {name!r} holds shares from 0 to 1")
    values = np.asarray(heat.z, float)
    opaque = np.where(np.isnan(values), 0, MOST_VEIL * (1 - shares))
    looks = {"colorscale": _SCALE, "zmin": 0, "zmax": 1, "showscale": False, "hoverinfo": "skip"}
    veil = go.Heatmap(z=opaque, x=heat.x, y=heat.y, **looks)
    if heat.texttemplate:
        numbers = np.array([["" if x != x else f"{x:.2f}" for x in row] for row in values])
        above = opaque > PALE
        heat.update(text=np.where(above, "", numbers), texttemplate="%{text}")
        font = {"size": 11, "color": DARK}
        veil.update(text=np.where(above, numbers, ""), texttemplate="%{text}", textfont=font)
    return [heat, veil]
