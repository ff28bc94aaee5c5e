"""A grid of runs as heat maps, length by depth, one for each condition (Figs. 2, 6, 9-14).

All panels share one colour scale. A cell is the mean over its examples; the hover has the interval
and the number of examples. https://arxiv.org/abs/2602.11162
"""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from retrieval_lens.viz.labels import escape
from retrieval_lens.viz.style import FRAMED, NO_VALUE, arrange, colour_bar, colours
from retrieval_lens.viz.summary import (
    LEVELS,
    levels,
    require_columns,
    series_names,
    summarise,
)
from retrieval_lens.viz.veil import veiled

SHARES = ("exact", "answer_chars", "rouge_l", "em", "f1", "truncated")  # drawn on a scale up to 1
MOST_COLUMNS, MOST_LABELLED = 4, 60
EXAMPLES = "examples"


def grid(
    frame: Any,
    measure: str = "exact",
    *,
    panel: str = "condition",
    x: str = "n_tokens",
    y: str = "depth",
    opacity: str | None = None,
    title: str | None = None,
    colour_bar: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw a measure of a grid, one length-by-depth heat map for each condition.

    Source: figures 2, 6 and 9 to 14 of
    [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162).

    Args:
        frame: A row a run, such as `experiments.load_results` returns. Rows of one `example_id`
            are averaged first; a condition with several `k`, or of several models, has a panel for
            each.
        measure: Column that is drawn; rows without a number are left out, cells without one are
            grey.
        panel: Column with one panel a value.
        x: Column of the horizontal axis.
        y: Column of the vertical axis, smallest on top.
        opacity: Column of shares from 0 to 1, such as `valid`: pale cells have low ones. Or
            `"examples"`: pale cells have few examples beside the fullest cell.
        title: plain text above the figure.
        colour_bar: what the colours mean, with its unit.
        template: a Plotly template; white by default.
        width: in pixels; by default it grows with the number of panels.
        height: in pixels; by default it grows with the number of panels.

    Raises:
        UnknownNameError: the table lacks a column.
        InputError: no number in the column.

    Examples:
        >>> import pandas as pd
        >>> runs = pd.DataFrame(
        ...     {
        ...         "condition": ["none", "dynamic"],
        ...         "n_tokens": 100,
        ...         "depth": 0.5,
        ...         "exact": [1.0, 0.0],
        ...     }
        ... )
        >>> len(grid(runs).data)
        2
    """
    shares = None if opacity in (None, EXAMPLES) else opacity
    require_columns(frame, [panel, x, y, measure, *([shares] if shares else [])])
    frame = frame[frame[x].notna() & frame[y].notna()]
    frame = frame.assign(**{panel: _panel_names(frame, panel)})
    cells = _cells(frame, [panel, x, y], measure)
    names, ticks = (x, y), (sorted(frame[x].unique()), sorted(frame[y].unique()))
    panels, most = list(dict.fromkeys(frame[panel])), cells["n"].max()
    n_columns = min(MOST_COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure = _subplots(panels, n_rows, n_columns)
    for number, name in enumerate(panels):
        row, column = number // n_columns + 1, number % n_columns + 1
        part = cells[cells[panel] == name]
        layers = [_heat_map(part, measure, names, ticks)]
        if opacity:
            rows = frame[frame[panel] == name] if shares else part.assign(examples=part["n"] / most)
            there = rows.groupby([x, y], as_index=False)[opacity].mean()
            layers = veiled(layers[0], _matrix(there, opacity, names, ticks), opacity)
        for layer in layers:
            figure.add_trace(layer, row=row, col=column)
    _axes(figure, names, ticks, (len(panels), n_columns))
    _colours(figure, cells["mean"].to_numpy(float), measure, colour_bar)
    return arrange(
        figure,
        title or f"{measure} by {x} and {y}",
        " · ".join(filter(None, ["mean over examples", _pale(opacity), levels(frame)])),
        template,
        width or min(1200, 190 + n_columns * max(170, 52 * len(ticks[0]) + 30)),
        height or 130 + n_rows * max(150, 30 * len(ticks[1]) + 60),
    )


def _subplots(panels: list[str], n_rows: int, n_columns: int) -> go.Figure:
    return make_subplots(
        n_rows,
        n_columns,
        subplot_titles=[escape(name) for name in panels],
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.14 / (n_columns + 2),
        vertical_spacing=0.3 / (n_rows + 1),
    )


def _cells(frame: Any, place: list[str], measure: str) -> Any:
    """Mean, interval and number of examples of each cell, with the levels of its score."""
    cells = summarise(frame, place, measure)
    if not set(LEVELS) <= set(frame.columns):
        return cells
    known = frame.groupby(place, as_index=False)[list(LEVELS)].mean()
    return cells.merge(known, on=place, how="left")


def _levels_of(part: Any, names: tuple[str, str], ticks: tuple[list, list], i: int, j: int) -> str:
    """Chance level and lift of a cell, where they are known."""
    if not set(LEVELS) <= set(part.columns):
        return ""
    here = part[(part[names[0]] == ticks[0][j]) & (part[names[1]] == ticks[1][i])]
    told = levels(here)
    return f"<br>{told}" if told else ""


def _pale(opacity: str | None) -> str:
    if opacity == EXAMPLES:
        return "pale: few examples, grey: none"
    return f"pale: low {opacity}" if opacity else ""


def _panel_names(frame: Any, panel: str) -> list[str]:
    """The panel of each row; with its k, where it has one."""
    names = series_names(frame, panel)
    if panel != "condition" or "k" not in frame.columns:
        return names
    with_k = frame["k"].notna()
    return [
        f"{name}, k = {int(k)}" if known else name
        for name, k, known in zip(names, frame["k"], with_k, strict=True)
    ]


def _matrix(part: Any, column: str, names: tuple[str, str], ticks: tuple[list, list]) -> np.ndarray:
    """`[y, x]`, NaN where there is no cell."""
    x, y = names
    table = part.pivot(index=y, columns=x, values=column)
    return table.reindex(index=ticks[1], columns=ticks[0]).to_numpy(float)


def _heat_map(
    part: Any, measure: str, names: tuple[str, str], ticks: tuple[list, list]
) -> go.Heatmap:
    mean, low, high, n = (
        _matrix(part, column, names, ticks) for column in ("mean", "low", "high", "n")
    )
    hover = [
        [
            f"{escape(names[0])} {_text(ticks[0][j])} · {escape(names[1])} {_text(ticks[1][i])}<br>"
            f"<b>{escape(measure)} {mean[i, j]:.3g}</b> [{low[i, j]:.3g}, {high[i, j]:.3g}]<br>"
            f"{n[i, j]:.0f} examples{_levels_of(part, names, ticks, i, j)}"
            for j in range(mean.shape[1])
        ]
        for i in range(mean.shape[0])
    ]
    written = {"texttemplate": "%{z:.2f}", "textfont": {"size": 11}}
    return go.Heatmap(
        z=mean,
        x=list(range(mean.shape[1])),
        y=list(range(mean.shape[0])),
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        coloraxis="coloraxis",
        **(written if mean.size <= MOST_LABELLED else {}),
    )


def _text(value: Any) -> str:
    """A tick: a number without needless digits, or a name."""
    return escape(value) if isinstance(value, str) else f"{value:g}"


def _axes(
    figure: go.Figure, names: tuple[str, str], ticks: tuple[list, list], size: tuple[int, int]
) -> None:
    """Even spacing whatever the values, titles at the left and below alone."""
    labels = [[_text(value) for value in values] for values in ticks]
    below, left = (
        FRAMED | {"tickvals": list(range(len(text))), "ticktext": text} for text in labels
    )
    figure.update_xaxes(**below)
    figure.update_yaxes(**left, autorange="reversed")
    n_panels, n_columns = size
    lowest = {"title_text": escape(names[0]), "showticklabels": True}
    for number in range(n_panels):
        row, column = number // n_columns + 1, number % n_columns + 1
        if number + n_columns >= n_panels:
            figure.update_xaxes(**lowest, row=row, col=column)
        if column == 1:
            figure.update_yaxes(title_text=escape(names[1]), row=row, col=column)
    figure.update_layout(plot_bgcolor=NO_VALUE)
    figure.update_annotations(font_size=13)


def _colours(figure: go.Figure, values: np.ndarray, measure: str, meaning: str | None) -> None:
    scale = colours(values.reshape(1, -1), reach=1.0 if measure in SHARES else 0.0)
    limits = {"cmin": scale["zmin"], "cmax": scale["zmax"], "colorscale": scale["colorscale"]}
    figure.update_layout(coloraxis={**limits, "colorbar": colour_bar(meaning or measure)})
