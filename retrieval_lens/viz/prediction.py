"""Predicted scores beside true ones, step by step: what a probe saw coming.

1. The heads whose true score varies most are chosen, or those that you name.
2. Above: the scores of the trace. Below: what the probe said of the same steps, from the hidden
   state `offset` steps earlier; the first `offset` columns have no prediction.

Source: section 3.4 of Retrieval Heads are Dynamic, https://arxiv.org/abs/2602.11162.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from retrieval_lens.errors import InputError
from retrieval_lens.viz.labels import axis_labels, escape, visible
from retrieval_lens.viz.style import (
    NO_VALUE,
    arrange,
    colour_bar,
    colours,
    label,
)
from retrieval_lens.viz.timeline import FITS, STEPS, step_ticks, varied_heads
from retrieval_lens.viz.trace_like import TraceLike, head_pairs, step_scores, to_numpy

Steps = Float[np.ndarray, "row step"]


def prediction(
    trace: TraceLike,
    predicted: Any,
    score: str = "copy_paste",
    n_heads: int = 10,
    *,
    offset: int = 0,
    heads: Iterable[Any] | None = None,
    title: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw what a probe predicts for each step beside what happened.

    Source: section 3.4 of [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162).

    Args:
        trace: what each head did, with `scores[score]` of shape `[step, layer, head]`.
        predicted: `[step, layer, head]`, the prediction made from the hidden state of each step,
            such as `probe.predict(trace.hidden)`.
        score: which of the trace's scores it is of.
        n_heads: how many heads, largest variance of the true score on top.
        offset: how many steps ahead the prediction is.
        heads: draw these (layer, head) pairs instead, in this order from the top.
        title: plain text above the figure; markup in it shows as text.
        template: a Plotly template; white by default.
        width: in pixels; by default that of the page, or of the labels if there are many steps.
        height: in pixels; by default it grows with the number of heads.

    Raises:
        UnknownNameError: the trace holds no score of this name.
        InputError: predictions of another shape, a negative offset, or a head that the model does
            not have.

    Examples:
        >>> from retrieval_lens.viz.demo import demo_trace
        >>> trace = demo_trace()
        >>> len(prediction(trace, trace.scores["copy_paste"], n_heads=3).data)
        2
    """
    true, guess = step_scores(trace, score), to_numpy(predicted).astype(float)
    if guess.shape != true.shape:
        raise InputError(
            f"predicted has shape {guess.shape}, the trace's {score!r} {true.shape}: wanted one "
            "prediction for each step, layer and head"
        )
    if not 0 <= offset < len(true):
        raise InputError(f"offset lies between 0 and {len(true) - 1}, the last step; got {offset}")
    said = np.full_like(guess, np.nan)
    said[offset:] = guess[: len(guess) - offset]
    chosen = varied_heads(true, n_heads) if heads is None else head_pairs(heads, *true.shape[1:])
    figure = make_subplots(
        2, 1, shared_xaxes=True, subplot_titles=["true", "predicted"], vertical_spacing=0.09
    )
    for row, values in enumerate((true, said), start=1):
        figure.add_trace(_cells(trace, values, chosen, ("true", "predicted")[row - 1]), row, 1)
    _axes(figure, axis_labels(trace.str_tokens), [label(*pair) for pair in chosen])
    drawn = np.stack([values[:, *pair] for values in (true, said) for pair in chosen])
    scale = colours(drawn, reach=1.0 if bool(np.isin(true, (0, 1)).all()) else 0.0)
    limits = {"cmin": scale["zmin"], "cmax": scale["zmax"], "colorscale": scale["colorscale"]}
    figure.update_layout(coloraxis={**limits, "colorbar": colour_bar(f"{score} score")})
    ahead = "the same step" if not offset else f"{offset} step{'s' * (offset > 1)} earlier"
    n_steps = len(true)
    figure.update_annotations(font_size=13)
    return arrange(
        figure,
        title or f"{score} score, true and predicted",
        f"predicted from the hidden state of {ahead}" + (" · grey: none yet" if offset else ""),
        template,
        width or (None if n_steps <= FITS else 16 * n_steps + 180),
        height or 44 * len(chosen) + 280,
    ).update_layout(title_pad_b=26)


def _cells(
    trace: TraceLike,
    values: Float[np.ndarray, "step layer head"],
    chosen: list[tuple[int, int]],
    what: str,
) -> go.Heatmap:
    rows = np.stack([values[:, *pair] for pair in chosen])
    hover = [
        [
            f"<b>{label(*pair)}</b> at step {step}, {what}"
            f"<br>generates {escape(visible(trace.str_tokens[step]))}<br>score {value:.3g}"
            for step, value in enumerate(row)
        ]
        for pair, row in zip(chosen, rows, strict=True)
    ]
    cells = {"z": rows, "hovertext": hover, "hoverinfo": "text", "xgap": 1, "ygap": 1}
    return go.Heatmap(cells, coloraxis="coloraxis", hoverongaps=False)


def _axes(figure: go.Figure, tokens: list[str], heads: list[str]) -> None:
    below, left = step_ticks(tokens, heads)
    figure.update_xaxes(**below)
    figure.update_yaxes(**left)
    figure.update_xaxes(title_text=STEPS, row=2, col=1)
    figure.update_layout(plot_bgcolor=NO_VALUE)
