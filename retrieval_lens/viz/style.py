"""How the figures look: one layout, one way to name a head, colours for colour-blind readers."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from retrieval_lens.viz.labels import lines

TEMPLATE = "plotly_white"
WHITE, DARK, RULE = "#ffffff", "#12365c", "#d3dae2"
Scale = list[list[float | str]]  # [place, colour] each
BINARY: Scale = [[0.0, WHITE], [1.0, DARK]]
SEQUENTIAL: Scale = [
    [0.0, WHITE],
    [0.15, "#dceaf6"],
    [0.5, "#6aa7d8"],
    [0.8, "#1f6bb0"],
    [1.0, "#08294d"],
]
DIVERGING: Scale = [
    [0.0, "#8a3d00"],
    [0.25, "#e08a3c"],
    [0.5, WHITE],
    [0.75, "#5b9bd0"],
    [1.0, "#08294d"],
]
# For names. Apart from each other for every kind of colour blindness; 3:1 on white, 2.5:1 on dark
PALETTE = ("#1f6bb0", "#d9772b", "#3f9f78", "#8a3d7a", "#5a5a5a", "#9686e6", "#b02a1c", "#4e40c8")
MARKS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
NO_VALUE = "rgba(128, 128, 128, 0.28)"
FRAMED: dict[str, Any] = {
    "showgrid": False,
    "zeroline": False,
    "automargin": True,
    "showline": True,
    "mirror": True,
    "linecolor": RULE,
}
TITLE_LINE = 34  # pixels
MONOSPACE = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SANS = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"


def label(layer: int, head: int) -> str:
    """Name a head as `Head` prints it; layer and head count from 0.

    Examples:
        >>> label(18, 6)
        'L18H6'
    """
    return f"L{layer}H{head}"


def colours(values: Float[np.ndarray, "row column"], reach: float = 0.0) -> dict[str, Any]:
    """Colour scale and range for a heat map: white is zero, and orange stands for negative values.

    The darkest colour is that of the largest value, or of `reach` if that is larger.

    Examples:
        >>> colours(np.array([[0.0, 0.4]]))["zmax"], colours(np.array([[-0.2, 0.1]]))["zmin"]
        (0.4, -0.2)
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low < 0:
        bound = max(-low, high)
        return {"colorscale": DIVERGING, "zmin": -bound, "zmax": bound}
    return {"colorscale": SEQUENTIAL, "zmin": 0.0, "zmax": max(high, reach) or 1.0}


def colour_bar(title: str) -> dict[str, Any]:
    """A slim colour bar with its title beside it.

    Examples:
        >>> colour_bar("score")["title"]["text"]
        'score'
    """
    return {
        "title": {"text": lines(title, 40), "side": "right"},
        "thickness": 12,
        "outlinewidth": 0,
        "exponentformat": "power",
    }


def arrange(
    figure: go.Figure,
    title: str,
    subtitle: str,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Set title, subtitle, template and size in place; a missing width follows the page.

    Examples:
        >>> arrange(go.Figure(), "a title", "", height=300).layout.title.text
        'a title'
    """
    chars = max(30, (width or 680) // 9)
    heading = lines(title, chars)
    # Plotly places the last line of a title where a single one would be
    above = TITLE_LINE * heading.count("<br>")
    figure.update_layout(
        title={
            "text": heading,
            "subtitle": {"text": lines(subtitle, int(chars * 1.4)), "font": {"size": 12}},
            "font": {"size": 17},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "yref": "container",
            "y": 1,
            "yanchor": "top",
            "automargin": True,
            "pad": {"l": 12, "t": 12 + above, "b": 12},
        },
        template=TEMPLATE if template is None else template,
        font={"family": SANS},
        hoverlabel={"align": "left"},
        width=width,
        height=height,
        margin={"l": 12, "r": 12, "t": 40, "b": 12},
    )
    return figure
