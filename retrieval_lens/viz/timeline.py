"""The score of a few heads at every decode step: which heads retrieve, and when.

1. The heads whose score varies most over the steps are chosen, or those that you name.
2. Each is a row, each generated token a column; dark is a high score.

Source: figures 1 and 5 of Retrieval Heads are Dynamic, https://arxiv.org/abs/2602.11162.
"""

from collections.abc import Iterable
from math import isnan, nan
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from retrieval_lens.errors import InputError
from retrieval_lens.viz.labels import axis_labels, escape, visible
from retrieval_lens.viz.style import (
    BINARY,
    FRAMED,
    MONOSPACE,
    RULE,
    arrange,
    colour_bar,
    colours,
    label,
)
from retrieval_lens.viz.trace_like import TraceLike, head_pairs, step_scores, to_numpy, token_at

STEPS = "generated token, step by step"
FITS = 48  # steps whose labels still stand apart in a column of text


def varied_heads(
    scores: Float[np.ndarray, "step layer head"], n_heads: int
) -> list[tuple[int, int]]:
    """Rank heads by the variance of their score over the steps; ties by layer, then head.

    Raises:
        InputError: fewer than one head is wanted.

    Examples:
        >>> scores = np.zeros((4, 2, 2))
        >>> scores[0, 1, 0] = 1
        >>> varied_heads(scores, 2)
        [(1, 0), (0, 0)]
    """
    if n_heads < 1:
        raise InputError(f"n_heads={n_heads}; a timeline needs at least 1 head")
    # equal numbers in another order differ in the last bits, which must not decide a tie
    variance = np.nan_to_num(scores.var(axis=0), nan=-1.0).round(12)
    order = np.argsort(-variance, axis=None, kind="stable")[:n_heads]
    layers, heads = np.unravel_index(order, variance.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def _looked_at(trace: TraceLike, step: int, layer: int, head: int) -> str:
    """The most attended token of a head at a step, escaped."""
    positions = trace.top_positions[step, layer, head]
    if not len(positions) or int(positions[0]) < 0:
        return "a position not recorded"
    position, weight = int(positions[0]), float(trace.top_weights[step, layer, head, 0])
    inside = ", evidence" if position in to_numpy(trace.evidence) else ""
    token = escape(visible(token_at(trace, position)))
    return f"{token} (position {position}{inside}), attention {weight:.2f}"


def _hover(trace: TraceLike, score: str, value: float, step: int, layer: int, head: int) -> str:
    """What a cell says: head, step, token, score and its levels, most attended token."""
    levels = [("active above", trace.thresholds), ("chance", trace.chance)]
    known = [(name, float(level[score][step])) for name, level in levels if score in level]
    noted = "".join(f" · {name} {level:.3g}" for name, level in known if not isnan(level))
    return (
        f"<b>{label(layer, head)}</b> at step {step}"
        f"<br>generates {escape(visible(trace.str_tokens[step]))}"
        f"<br>{escape(score)} {value:.3g}{noted}"
        f"<br>looks at {_looked_at(trace, step, layer, head)}"
    )


def _subtitle(trace: TraceLike, score: str, binary: bool) -> str:
    """How to read the colours, the chance level, and whether the generation was cut."""
    parts = ["dark: score 1, white: score 0" if binary else "the darker, the larger the score"]
    chance = float(to_numpy(trace.chance[score]).mean()) if score in trace.chance else nan
    if not binary and not isnan(chance):
        parts.append(f"chance level {chance:.2g} on average")
    if trace.truncated:
        parts.append("generation cut at its token limit")
    return " · ".join(parts)


def timeline(
    trace: TraceLike,
    score: str = "copy_paste",
    n_heads: int = 10,
    *,
    heads: Iterable[Any] | None = None,
    title: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw the score of heads over the decode steps.

    Source: figures 1 and 5 of [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162).

    Args:
        trace: what each head did, with `scores[score]` of shape `[step, layer, head]`.
        score: which of its scores. One that takes only the values 0 and 1 is drawn white and dark,
            others with a colour bar.
        n_heads: how many heads, largest variance over the steps on top.
        heads: draw these (layer, head) pairs instead, in this order from the top.
        title: plain text above the figure; markup in it shows as text.
        template: a Plotly template; white by default.
        width: in pixels; by default that of the page, or of the labels if there are many steps.
        height: in pixels; by default it grows with the number of heads.

    Raises:
        UnknownNameError: the trace holds no score of this name.
        InputError: a trace without steps, fewer than one head, or a head that the model does not
            have.

    Examples:
        >>> from retrieval_lens.viz.demo import demo_trace
        >>> figure = timeline(demo_trace(), n_heads=3)
        >>> list(figure.layout.yaxis.ticktext)
        ['L2H1', 'L3H2', 'L1H0']
    """
    scores = step_scores(trace, score)
    n_steps, n_layers, n_model_heads = scores.shape
    if heads is None:
        chosen = varied_heads(scores, n_heads)
    else:
        chosen = head_pairs(heads, n_layers, n_model_heads)
    values = np.stack([scores[:, layer, head] for layer, head in chosen])
    binary = bool(np.isin(scores, (0, 1)).all())
    figure = _cells(trace, score, values, chosen, binary)
    _axes(figure, axis_labels(trace.str_tokens), [label(*pair) for pair in chosen])
    return arrange(
        figure,
        title or f"{score} score of {_count(chosen)} at each decode step",
        _subtitle(trace, score, binary),
        template,
        width or (None if n_steps <= FITS else 16 * n_steps + 180),
        height or 26 * len(chosen) + 230,
    )


def _cells(
    trace: TraceLike,
    score: str,
    values: Float[np.ndarray, "row step"],
    chosen: list[tuple[int, int]],
    binary: bool,
) -> go.Figure:
    """The heat map with its hover; a score below its threshold is never the darkest colour."""
    hover = [
        [_hover(trace, score, float(value), step, *pair) for step, value in enumerate(row)]
        for pair, row in zip(chosen, values, strict=True)
    ]
    scale = {"colorscale": BINARY, "zmin": 0, "zmax": 1, "showscale": False}
    if not binary:
        reach = float(to_numpy(trace.thresholds[score]).max()) if score in trace.thresholds else 0.0
        scale = colours(values, reach) | {"colorbar": colour_bar(f"{score} score")}
    cells = {"z": values, "hovertext": hover, "hoverinfo": "text", "xgap": 1, "ygap": 1}
    return go.Figure(go.Heatmap(cells | scale, hoverongaps=False))


def _count(chosen: list[tuple[int, int]]) -> str:
    return f"{len(chosen)} heads" if len(chosen) > 1 else f"head {label(*chosen[0])}"


def _axes(figure: go.Figure, tokens: list[str], heads: list[str]) -> None:
    below, left = step_ticks(tokens, heads)
    title = {"title": {"text": STEPS}}
    figure.update_layout(xaxis=below | title, yaxis=left, plot_bgcolor=RULE)


def step_ticks(tokens: list[str], heads: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One tick a token below, one a head at the left, the first head on top."""
    ticks = FRAMED | {"tickmode": "array"}
    below = {
        "tickvals": list(range(len(tokens))),
        "ticktext": tokens,
        "tickangle": -90,
        "tickfont": {"family": MONOSPACE, "size": 12},
    }
    left = {
        "tickvals": list(range(len(heads))),
        "ticktext": heads,
        "tickfont": {"size": 12},
        "autorange": "reversed",
    }
    return ticks | below, ticks | left
