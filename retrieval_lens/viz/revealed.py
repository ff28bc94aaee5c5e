"""What share of the facts each strategy of Dynamic RAG showed, against how much it showed.

1. One point a strategy (and k): means over questions, with 95 % intervals both ways.
2. On the broken line the share of the facts equals that of the context. Windows at random places
   lie near it if facts may stand anywhere, below it if they stand at the ends of the context, where
   windows rarely are: compare with `random_windows`, not with the line alone.
"""

from itertools import cycle
from typing import Any

import plotly.graph_objects as go

from retrieval_lens.errors import InputError
from retrieval_lens.viz.labels import escape
from retrieval_lens.viz.statistics_frame import GREY, error_bars
from retrieval_lens.viz.style import FRAMED, MARKS, PALETTE, arrange
from retrieval_lens.viz.summary import require_columns, series_names, summarise

_STRATEGY = " strategy"  # no column of a table is called so


def revealed(
    frame: Any,
    found: str = "first_recall",
    shown: str = "first_share",
    *,
    title: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw evidence recall against the share of the context that was shown.

    Source: beside Tables 4 and 6 of
    [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162).

    Args:
        frame: A row an answer, as `experiments.load_results` returns it for a `RagGrid`. Draws and
            layouts of a question are averaged first. A column `k` tells sizes apart.
        found: Column of the vertical axis, 0 to 1: what the first retrieval found of the facts, or
            `evidence_recall` of the whole answer.
        shown: Column of the horizontal axis: `first_share`, or `revealed_share`.
        title: plain text above the figure.
        template: a Plotly template; white by default.
        width: in pixels; by default it follows the page.
        height: in pixels.

    Raises:
        UnknownNameError: the table lacks a column.
        InputError: no row has both numbers.

    Examples:
        >>> import pandas as pd
        >>> answers = pd.DataFrame({"condition": ["bm25", "bm25"], "first_recall": [0.5, 1.0]})
        >>> figure = revealed(answers.assign(first_share=[0.1, 0.3]))
        >>> float(figure.data[1].x[0]), float(figure.data[1].y[0])
        (0.2, 0.75)
    """
    require_columns(frame, ["condition", found, shown])
    known = frame[frame[found].notna() & frame[shown].notna()]
    if not len(known):
        raise InputError(f"no row has a number in both {found!r} and {shown!r}")
    known = known.assign(**{_STRATEGY: _names(known)})
    figure = go.Figure(_chance())
    looks = zip(cycle(PALETTE), cycle(MARKS), strict=False)
    for name, (colour, symbol) in zip(dict.fromkeys(known[_STRATEGY]), looks, strict=False):
        rows = known[known[_STRATEGY] == name]
        figure.add_trace(_point(rows, (found, shown), name, colour, symbol))
    axis = FRAMED | {"range": [-0.04, 1.04], "tickformat": ".0%"}
    figure.update_layout(
        xaxis=axis | {"title": {"text": f"share of the context that was shown ({escape(shown)})"}},
        yaxis=axis | {"title": {"text": f"share of the facts that was shown ({escape(found)})"}},
    )
    n = known["question_id"].nunique() if "question_id" in known.columns else 0
    return arrange(
        figure,
        title or "What the strategies found, and how much they showed",
        "bars: 95 % intervals" + (f" over {n} questions" if n else ""),
        template,
        width,
        height or 480,
    )


def _names(frame: Any) -> list[str]:
    """Strategies, with their k where there are several."""
    names = series_names(frame, "condition")
    if "k" not in frame.columns or frame["k"].nunique() < 2:
        return names
    return [
        name if k != k else f"{name}, k = {int(k)}"
        for name, k in zip(names, frame["k"].astype(float), strict=True)
    ]


def _chance() -> go.Scatter:
    return go.Scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": GREY, "dash": "dash", "width": 1},
        name="equal shares",
        hoverinfo="skip",
    )


def _point(rows: Any, columns: tuple[str, str], name: str, colour: str, symbol: str) -> go.Scatter:
    """Mean of one strategy with intervals both ways."""
    found, shown = (
        summarise(rows, [_STRATEGY], column).iloc[0].rename({"mean": "value"}).to_dict()
        for column in columns
    )
    hover = (
        f"<b>{escape(name)}</b><br>facts {found['value']:.1%} [{found['low']:.1%}, "
        f"{found['high']:.1%}]<br>context {shown['value']:.1%} [{shown['low']:.1%}, "
        f"{shown['high']:.1%}]<br>{found['n']} questions"
    )
    return go.Scatter(
        x=[shown["value"]],
        y=[found["value"]],
        error_x=error_bars([shown]),
        error_y=error_bars([found]),
        mode="markers",
        marker={"size": 11, "color": colour, "symbol": symbol},
        name=escape(name),
        hovertext=[hover],
        hoverinfo="text",
    )
