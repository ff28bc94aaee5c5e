"""Curves with bands: one or two measures against a number, such as accuracy against k (Fig. 3).

Series differ in colour and mark. The second measure has the axis on the right, broken lines and
open marks. Source: https://arxiv.org/abs/2602.11162
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from retrieval_lens.errors import InputError
from retrieval_lens.viz.labels import escape
from retrieval_lens.viz.style import FRAMED, MARKS, PALETTE, arrange
from retrieval_lens.viz.summary import levels, require_columns, series_names, summarise

_SERIES = " series"  # no column of a table is called so


def curves(
    frame: Any,
    x: str = "k",
    y: str | Sequence[str] = ("exact", "compensated_overlap"),
    *,
    series: str | None = "condition",
    low: str | None = None,
    high: str | None = None,
    title: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw one curve for each series and measure, with a band of its 95 % interval.

    Source: figures 3, 4, 7, 8 and 15 to 20 of
    [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162).

    Args:
        frame: A row a run, such as `experiments.load_results` returns: each point is the mean over
            examples at one `x`. With `low` and `high`: a row a point, drawn as it is.
        x: Column of numbers; rows without one are left out.
        y: One measure, or two: the second has the axis on the right. A measure that has no number
            in a series has no curve there.
        series: Column with one colour a value (conditions of several models are told apart); None
            for a single series.
        low: Column of the band's lower edge; then `y` is one column.
        high: Column of the band's upper edge.
        title: plain text above the figure.
        template: a Plotly template; white by default.
        width: in pixels; by default it follows the page.
        height: in pixels.

    Raises:
        UnknownNameError: the table lacks a column.
        InputError: nothing to draw, more than two measures, or half a band.

    Examples:
        >>> import pandas as pd
        >>> points = pd.DataFrame({"k": [0, 5], "m": [1.0, 0.5], "a": [0.9, 0.4], "b": [1.0, 0.6]})
        >>> len(curves(points, y="m", series=None, low="a", high="b").data)
        2
    """
    measures = [y] if isinstance(y, str) else list(y)
    if not 1 <= len(measures) <= 2:
        raise InputError(f"y is one measure or two; got {measures}")
    if (low is None) != (high is None) or (low is not None and len(measures) > 1):
        raise InputError("a band is low= and high= together, with one measure y")
    edges = [] if low is None or high is None else [low, high]
    require_columns(frame, [x, *measures, *([] if series is None else [series]), *edges])
    frame = frame[frame[x].notna()]
    frame = frame.assign(**{_SERIES: "" if series is None else series_names(frame, series)})
    parts = _parts(frame, x, measures, edges)
    if not parts:
        raise InputError(f"nothing to draw: no row has both {x!r} and one of {measures}")
    names = list(dict.fromkeys(name for name, _, _ in parts))
    figure = go.Figure()
    for name, measure, points in parts:
        second = measures.index(measure)
        place = (names.index(name) if len(names) > 1 else second) % len(PALETTE)
        label = ", ".join(filter(None, [name, measure if len(measures) > 1 else ""])) or measure
        figure.add_traces(_curve(points, x, label, place, second))
    _axes(figure, x, measures)
    return arrange(
        figure,
        title or f"{' and '.join(measures)} against {x}",
        " · ".join(filter(None, [_subtitle(parts, bool(edges)), levels(frame)])),
        template,
        width,
        height or 420,
    )


def _subtitle(parts: Sequence[tuple[str, str, Any]], given: bool) -> str:
    """What the bands are, where there is one."""
    if not any(points["low"].notna().any() for _, _, points in parts):
        return ""
    return "band: 95 % interval" + ("" if given else " over examples")


def _parts(
    frame: Any, x: str, measures: Sequence[str], edges: Sequence[str]
) -> list[tuple[str, str, Any]]:
    """(series, measure, points with `x`, mean, low, high) for every curve."""
    parts = []
    for name in dict.fromkeys(frame[_SERIES]):
        for measure in measures:
            rows = frame[(frame[_SERIES] == name) & frame[measure].notna()]
            if not len(rows):
                continue
            if edges:
                points = rows[[x, measure, *edges]].set_axis([x, "mean", "low", "high"], axis=1)
                if points[x].duplicated().any():
                    raise InputError(f"series {name!r} has two points at one {x!r}")
            else:
                points = summarise(rows, [x], measure)
            parts.append((name, measure, points.sort_values(x)))
    return parts


def _curve(points: Any, x: str, label: str, place: int, second: int) -> list[go.Scatter]:
    """The band, and the line on it."""
    at = points[x].astype(float).tolist()
    low, high = points["low"].astype(float).tolist(), points["high"].astype(float).tolist()
    mean = points["mean"].astype(float).tolist()
    hover = [
        f"<b>{escape(label)}</b><br>{escape(x)} {a:g}: {m:.3g} [{lo:.3g}, {hi:.3g}]"
        + (f"<br>{n} examples" if n else "")
        for a, m, lo, hi, n in zip(
            at, mean, low, high, points.get("n", [None] * len(at)), strict=True
        )
    ]
    shared = {"yaxis": "y2" if second else "y", "legendgroup": label}
    colour = PALETTE[place]
    line = go.Scatter(
        x=at,
        y=mean,
        mode="lines+markers",
        name=escape(label),
        line={"color": colour, "dash": "dash" if second else "solid", "width": 2},
        marker={"size": 8, "symbol": MARKS[place] + ("-open" if second else "")},
        hovertext=hover,
        hoverinfo="text",
        **shared,
    )
    return [_band(points, x, colour, shared), line]


def _band(points: Any, x: str, colour: str, shared: dict[str, Any]) -> go.Scatter:
    """The interval, where a point has one."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    edges = points[points["low"].notna() & points["high"].notna()].astype(float)
    return go.Scatter(
        x=[*edges[x], *edges[x][::-1]],
        y=[*edges["high"], *edges["low"][::-1]],
        mode="lines",
        fill="toself",
        fillcolor=f"rgba({red}, {green}, {blue}, 0.15)",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        **shared,
    )


def _axes(figure: go.Figure, x: str, measures: Sequence[str]) -> None:
    frame = FRAMED | {"mirror": False}
    figure.update_layout(
        xaxis=frame | {"title": {"text": escape(x)}},
        yaxis=frame
        | {"title": {"text": escape(measures[0])}, "showgrid": True, "rangemode": "tozero"},
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0},
    )
    if len(measures) > 1:
        right = {"title": {"text": escape(measures[1])}, "overlaying": "y", "side": "right"}
        right |= {"tickmode": "auto", "rangemode": "tozero"}
        figure.update_layout(yaxis2=frame | right)
