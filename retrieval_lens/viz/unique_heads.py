"""Heads that were ever active, against the number of steps looked at."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from retrieval_lens.viz.statistics_frame import BELOW, BLUE, require
from retrieval_lens.viz.style import FRAMED, arrange


def unique_heads(
    frame: Any,
    *,
    title: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw how many heads were ever active against the number of steps.

    Source: Table 1 of
    [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162) gives its end.

    Args:
        frame: What `analysis.unique_heads_curve` returned.
        title: Plain text above the figure; markup in it shows as text.
        template: A Plotly template; white by default.
        width: In pixels; by default that of the page.
        height: In pixels.

    Raises:
        InputError: Columns are missing, or the frame is empty.

    Examples:
        ```python
        rl.viz.unique_heads(rl.analysis.unique_heads_curve([trace]))
        ```
    """
    wanted = ("n_steps", "value", "low", "high", "total_heads")
    require(frame, wanted)
    steps, value, low, high, total = (np.asarray(frame[name], float) for name in wanted)
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "x": steps}
    figure = go.Figure(
        [
            go.Scatter(band | {"y": high}, showlegend=False),
            go.Scatter(
                band | {"y": low, "fill": "tonexty", "fillcolor": "rgba(31, 107, 176, 0.18)"},
                name="orders of the examples",
            ),
            go.Scatter(
                x=steps,
                y=value,
                mode="lines",
                line={"color": BLUE, "width": 2.5},
                name="mean",
                hovertemplate="%{y:.1f} heads in %{x:.0f} steps<extra></extra>",
            ),
        ]
    )
    grid = FRAMED | {"showgrid": True, "rangemode": "tozero"}
    below, left = (
        {"title": {"text": "decode steps"}},
        {"title": {"text": "heads active at least once"}},
    )
    figure.update_layout(xaxis=grid | below, yaxis=grid | left, legend=BELOW)
    n, last = int(total[-1]), value[-1]
    return arrange(
        figure,
        title or "Heads that were ever active, against the steps looked at",
        f"{last:.0f} of {n} heads ({last / n:.0%}) after {steps[-1]:.0f} steps",
        template,
        width,
        height or 420,
    )
