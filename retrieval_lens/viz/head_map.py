"""One number a head, drawn as layers by heads.

Given traces, the number is the mean of a score over all their decode steps, which is how the paper
ranks static retrieval heads (section 3.2 of https://arxiv.org/abs/2602.11162).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from retrieval_lens.errors import InputError
from retrieval_lens.viz.labels import escape
from retrieval_lens.viz.style import FRAMED, NO_VALUE, arrange, colour_bar, colours, label
from retrieval_lens.viz.summary import require_columns
from retrieval_lens.viz.trace_like import TraceLike, step_scores, to_numpy


def mean_scores(traces: Sequence[TraceLike], score: str) -> Float[np.ndarray, "layer head"]:
    """Mean of a score over the pooled steps of traces: a long trace counts more than a short one.

    Raises:
        UnknownNameError: a trace holds no score of this name.
        InputError: a trace without steps, or traces of different models.

    Examples:
        >>> from retrieval_lens.viz.demo import demo_trace
        >>> float(mean_scores([demo_trace()], "copy_paste")[3, 2].round(3))
        0.333
    """
    scores = [step_scores(trace, score) for trace in traces]
    shapes = sorted({one.shape[1:] for one in scores})
    if len(shapes) > 1:
        raise InputError(f"traces of different models: (layers, heads) are {shapes}; draw each")
    return np.concatenate(scores).mean(axis=0)


def head_set_matrix(heads: Any) -> Float[np.ndarray, "layer head"]:
    """Scores of a head set in place, 1 for heads without one, NaN for heads that are not in it.

    The size is the model's, where the set's provenance knows it; else just large enough.
    """
    pairs = list(heads.heads)
    if not pairs:
        raise InputError("the head set is empty: there is nothing to draw")
    model = heads.provenance.get("model") or {}
    n_layers = int(model.get("n_layers", 0)) or 1 + max(layer for layer, _ in pairs)
    n_heads = int(model.get("n_heads", 0)) or 1 + max(head for _, head in pairs)
    matrix = np.full((n_layers, n_heads), np.nan)
    for (layer, head), score in zip(pairs, heads.scores or [1.0] * len(pairs), strict=True):
        matrix[layer, head] = score
    return matrix


def table_matrix(table: Any, column: str) -> Float[np.ndarray, "layer head"]:
    """A column of a table with one row a head, in place; NaN for heads without a row."""
    require_columns(table, ["layer", "head", column])
    if not len(table):
        raise InputError("the table has no row: there is nothing to draw")
    matrix = np.full((int(table["layer"].max()) + 1, int(table["head"].max()) + 1), np.nan)
    if len(table.drop_duplicates(["layer", "head"])) < len(table):
        raise InputError("a head has several rows in the table; wanted one row a head")
    matrix[table["layer"], table["head"]] = table[column]
    return matrix


def _matrix(values: Any) -> Float[np.ndarray, "layer head"]:
    """Numbers in whatever container, as a matrix, or a refusal that says what came."""
    try:
        matrix = to_numpy(values).astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"wanted numbers of shape [layer, head], received {values!r}") from None
    if matrix.ndim != 2 or not matrix.size:
        raise InputError(f"wanted numbers of shape [layer, head], received {matrix.shape}")
    if np.isinf(matrix).any():
        raise InputError("a value is infinite and has no colour; use NaN for a blank cell")
    return matrix


def mean_chance(traces: Sequence[Any], score: str) -> float:
    """What a head that attends uniformly scores, mean over the steps; NaN where there is none."""
    levels = [to_numpy(trace.chance[score]) for trace in traces if score in trace.chance]
    return float(np.concatenate(levels).mean()) if levels else np.nan


def head_map(
    values: Any,
    *,
    score: str = "copy_paste",
    title: str | None = None,
    colour_bar: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw one number a head as a heat map, layer 0 on top.

    Source: section 3.2 of
    [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162), which ranks so.

    Args:
        values: `[layer, head]` as a tensor, an array or nested lists; or a trace, or several
            traces of one model, of which the mean of `score` over all steps is drawn; or a head
            set, of which the scores are drawn; or a table with columns `layer`, `head` and `score`,
            such as a probe report's `per_head`. A NaN cell stays blank, on grey.
        score: which score of the traces, or column of the table; unused for numbers.
        title: plain text above the figure; markup in it shows as text.
        colour_bar: what the colours mean, with its unit.
        template: a Plotly template; white by default.
        width: in pixels; by default it grows with the number of heads.
        height: in pixels; by default it grows with the number of layers.

    Raises:
        UnknownNameError: a trace holds no score, or a table no column, of this name.
        InputError: numbers of another shape, infinite ones, no trace, or traces of different
            models.

    Examples:
        >>> figure = head_map([[0.0, 0.25], [0.5, float("nan")]], title="two layers")
        >>> figure.data[0].z.shape
        (2, 2)
    """
    if hasattr(values, "heads") and hasattr(values, "provenance"):
        detector = str(values.provenance.get("detector", "score"))
        title = title or f"{len(values.heads)} heads of a set, by {detector}"
        colour_bar = colour_bar or ("member" if values.scores is None else detector)
        values = head_set_matrix(values)
    if hasattr(values, "columns"):
        values, title = table_matrix(values, score), title or f"{score} of each head"
        colour_bar = colour_bar or score
    traces = [values] if isinstance(values, TraceLike) else values
    traced = isinstance(traces, list | tuple) and traces and isinstance(traces[0], TraceLike)
    matrix = mean_scores(traces, score) if traced else _matrix(values)
    n_steps = sum(len(trace.str_tokens) for trace in traces) if traced else 0
    n_layers, n_heads = matrix.shape
    subtitle = f"mean over {n_steps} decode steps" if traced else ""
    if traced and not np.isnan(chance := mean_chance(traces, score)):
        subtitle += f" · chance level {chance:.2g} on average"
    if np.isnan(matrix).any():
        subtitle = " · ".join(filter(None, [subtitle, "grey: no value"]))
    figure = _cells(matrix, colour_bar or (f"mean {score} score" if traced else "value"))
    return arrange(
        figure,
        title or (f"mean {score} score of each head" if traced else "value of each head"),
        subtitle,
        template,
        width or min(1000, max(400, 26 * n_heads + 170)),
        height or max(300, 16 * n_layers + 170),
    )


def _cells(matrix: Float[np.ndarray, "layer head"], meaning: str) -> go.Figure:
    """The heat map with its axes and hover."""
    hover = [
        [f"<b>{label(layer, head)}</b><br>{escape(meaning)} {value:.4g}" for head, value in row]
        for layer, row in enumerate(map(enumerate, matrix))
    ]
    figure = go.Figure(
        go.Heatmap(
            z=matrix,
            hovertext=hover,
            hoverinfo="text",
            hoverongaps=False,
            xgap=1,
            ygap=1,
            colorbar=colour_bar(meaning),
            **colours(matrix),
        )
    )
    ticks = FRAMED | {"tick0": 0}
    n_layers, n_heads = matrix.shape
    below = {"title": {"text": "head"}, "dtick": 1 if n_heads <= 16 else 4}
    left = {
        "title": {"text": "layer"},
        "dtick": 1 if n_layers <= 12 else 4,
        "autorange": "reversed",
    }
    return figure.update_layout(xaxis=ticks | below, yaxis=ticks | left, plot_bgcolor=NO_VALUE)
