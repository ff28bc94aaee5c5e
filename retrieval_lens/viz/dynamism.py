"""Similarity of neighbouring steps and overlap with the static heads, beside what chance gives.

Dots with intervals in both readings of empty steps, beside the nulls and the ceilings.
"""

from typing import Any

import plotly.graph_objects as go

from retrieval_lens.errors import InputError
from retrieval_lens.viz.statistics_frame import (
    BELOW,
    BLUE,
    GREY,
    ORANGE,
    Found,
    error_bars,
    pooled_rows,
)
from retrieval_lens.viz.style import FRAMED, arrange

READINGS = {
    "count": ("empty steps counted", BLUE, 0.16),
    "skip": ("empty steps left out", ORANGE, -0.16),
}
NULLS = {
    "shuffled": ("chance: steps shuffled", "line-ns-open"),
    "bernoulli": ("chance: independent heads", "x-thin-open"),
}


def dynamism(
    frame: Any,
    *,
    title: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw the similarities of `analysis.dynamism` beside their nulls and ceilings.

    The steps are pooled. Rows of `analysis.test_retest` may be appended to the frame.

    Source: Tables 1 and 5 of
    [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162); nulls and
    ceilings are ours.

    Args:
        frame: A DataFrame with a row for each statistic.
        title: Plain text above the figure; markup in it shows as text.
        template: A Plotly template; white by default.
        width: In pixels; by default that of the page.
        height: In pixels; by default it grows with the number of rows.

    Raises:
        InputError: Columns are missing, or no similarity is in the frame.

    Examples:
        ```python
        frame = rl.analysis.dynamism([trace], n_resamples=100)
        rl.viz.dynamism(frame)
        ```
    """
    found = pooled_rows(frame)
    names = _names(found)
    if not names:
        raise InputError(
            "the frame holds no adjacent_jaccard; wanted what analysis.dynamism returns"
        )
    figure = go.Figure()
    at = {key: len(names) - 1 - i for i, key in enumerate(names)}
    for empty in READINGS:
        _dots(figure, found, at, empty)
    for null in NULLS:
        _nulls(figure, found, at, null)
    _ceilings(figure, found, at)
    left = {"tickvals": list(at.values()), "ticktext": list(names.values()), "ticklabelstandoff": 6}
    left |= {"range": [-0.6, len(names) - 0.4]}
    below = {"title": {"text": "similarity, or share of heads"}, "range": [-0.02, 1.02]}
    figure.update_layout(
        xaxis=FRAMED | {"showgrid": True} | below, yaxis=FRAMED | left, legend=BELOW
    )
    return arrange(
        figure,
        title or "Active heads from step to step, and against the static heads",
        _summary(found),
        template,
        width,
        height or 62 * len(names) + 230,
    )


def _names(found: Found) -> dict[tuple[str, int | None], str]:
    """Rows of the dot plot from the top, with their labels."""
    ks = sorted({k for _, k, _, _ in found if k is not None})
    names: dict[tuple[str, int | None], str] = {
        ("adjacent_jaccard", None): "Jaccard of<br>neighbouring steps",
        ("retest_jaccard", None): "Jaccard with the<br>same step in<br>another haystack",
    }
    names |= {("jaccard_static", k): f"Jaccard with<br>static top {k}" for k in ks}
    names |= {("coverage", k): f"share inside<br>static top {k}" for k in ks}
    there = {(statistic, k) for statistic, k, _, _ in found}
    return {key: name for key, name in names.items() if key in there}


def _dots(figure: go.Figure, found: Found, at: dict[Any, int], empty: str) -> None:
    """Measured values of one reading, with intervals."""
    name, colour, shift = READINGS[empty]
    # coverage is of non-empty steps alone
    keys = {key: (*key, None if key[0] == "coverage" and empty == "skip" else empty) for key in at}
    rows = [
        (at[key] + shift, found[(*full, None)])
        for key, full in keys.items()
        if (*full, None) in found
    ]
    if not rows:
        return
    figure.add_scatter(
        x=[row["value"] for _, row in rows],
        y=[y for y, _ in rows],
        mode="markers",
        marker={"color": colour, "size": 10},
        error_x=error_bars([row for _, row in rows]),
        name=name,
        customdata=[[row["low"], row["high"]] for _, row in rows],
        hovertemplate="%{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})",
    )


def _nulls(figure: go.Figure, found: Found, at: dict[Any, int], null: str) -> None:
    name, symbol = NULLS[null]
    rows = [
        (at[key] + shift, found[(*key, empty, null)]["value"])
        for key in at
        for empty, (_, _, shift) in READINGS.items()
        if (*key, empty, null) in found
    ]
    _marks(figure, rows, name, symbol)


def _ceilings(figure: go.Figure, found: Found, at: dict[Any, int]) -> None:
    rows = [
        (y + shift, found["jaccard_ceiling", k, empty, None]["value"])
        for (statistic, k), y in at.items()
        for empty, (_, _, shift) in READINGS.items()
        if statistic == "jaccard_static" and ("jaccard_ceiling", k, empty, None) in found
    ]
    _marks(figure, rows, "ceiling", "triangle-left-open")


def _marks(figure: go.Figure, rows: list[tuple[float, float]], name: str, symbol: str) -> None:
    if rows:
        figure.add_scatter(
            x=[value for _, value in rows],
            y=[y for y, _ in rows],
            mode="markers",
            marker={"color": GREY, "size": 12, "symbol": symbol, "line": {"width": 2}},
            name=name,
            hovertemplate="%{x:.3f}",
        )


def _summary(found: Found) -> str:
    """What has no place on an axis from 0 to 1."""

    def of(statistic: str, empty: str | None = None) -> float:
        row = found.get((statistic, None, empty, None))
        return float("nan") if row is None else float(row["value"])

    size, spread = of("mean_active", "count"), of("std_active", "count")
    unique, total = of("unique_heads"), of("total_heads")
    return (
        f"{size:.2f} ± {spread:.2f} active heads a step, {of('empty_share'):.0%} of the steps "
        f"empty · {unique:.0f} of {total:.0f} heads ever active · effective heads "
        f"{of('effective_heads', 'count'):.2f} (1 is a fixed set)"
    )
