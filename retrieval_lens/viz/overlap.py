"""Overlap of the dynamic with the static heads, against the size of the static set (Table 5)."""

from typing import Any

import plotly.graph_objects as go

from retrieval_lens.errors import InputError
from retrieval_lens.viz.statistics_frame import (
    BELOW,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    error_bars,
    pooled_rows,
)
from retrieval_lens.viz.style import FRAMED, arrange

AGAINST_K = {
    "coverage": ("coverage |D∩S| / |D|", GREEN, "solid", "diamond"),
    "chance_corrected": ("overlap above chance", PURPLE, "dash", "triangle-up"),
    "jaccard_ceiling": ("ceiling of the Jaccard", GREY, "dot", "triangle-left-open"),
    "jaccard_static": ("Jaccard of D and S", BLUE, "solid", "circle-open"),
    "precision": ("precision |D∩S| / |S|", ORANGE, "longdash", "x-thin-open"),
}


def overlap(
    frame: Any,
    *,
    empty: str = "count",
    title: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw the overlap of dynamic with static heads against the size of the static set.

    Source: Table 5 of [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162); all but the
    Jaccard is ours.

    Args:
        frame: What `analysis.dynamism` returned for a static ranking.
        empty: Reading of empty steps, `count` or `skip`; coverage and the overlap above chance
            are of non-empty steps in both.
        title: Plain text above the figure; markup in it shows as text.
        template: A Plotly template; white by default.
        width: In pixels; by default that of the page.
        height: In pixels.

    Raises:
        InputError: Columns are missing, no static heads in the frame, or another reading.

    Examples:
        ```python
        static = rl.HeadSet([(0, 0), (1, 2), (3, 1)])
        rl.viz.overlap(rl.analysis.dynamism([trace], static, ks=(1, 2, 3), n_resamples=100))
        ```
    """
    if empty not in ("count", "skip"):
        raise InputError(f"empty={empty!r}; wanted 'count' or 'skip'")
    found = pooled_rows(frame)
    ks = sorted({k for _, k, _, _ in found if k is not None})
    if not ks:
        raise InputError("the frame compares with no static heads; pass static= to dynamism")
    figure, lows = go.Figure(), [0.0]
    for statistic, (name, colour, dash, mark) in AGAINST_K.items():
        reading = None if (statistic, ks[0], None, None) in found else empty
        points = [(k, found.get((statistic, k, reading, None))) for k in ks]
        kept = [(k, row) for k, row in points if row is not None]
        lows += [row["value"] for _, row in kept]
        look = {
            "line": {"color": colour, "dash": dash, "width": 2},
            "marker": {"size": 11, "symbol": mark, "line": {"width": 2}},
        }
        _points(figure, [k for k, _ in kept], [row for _, row in kept], name, look)
    below = {"title": {"text": "k, heads in the static set S"}, "tickvals": ks}
    left = {"title": {"text": "overlap"}, "range": [min(lows) - 0.03, 1.03]}
    grid = FRAMED | {"showgrid": True}
    figure.update_layout(xaxis=grid | below, yaxis=grid | left, legend=BELOW)
    said = "empty steps " + ("count" if empty == "count" else "are left out")
    return arrange(
        figure,
        title or "Overlap of dynamic heads D with the k strongest static heads S",
        f"mean over steps with the interval over examples · {said}",
        template,
        width,
        height or 460,
    )


def _points(
    figure: go.Figure, x: list[int], rows: list[dict[str, Any]], name: str, look: dict[str, Any]
) -> None:
    if rows:
        figure.add_scatter(
            x=x,
            y=[row["value"] for row in rows],
            error_y=error_bars(rows),
            mode="lines+markers",
            **look,
            name=name,
        )
