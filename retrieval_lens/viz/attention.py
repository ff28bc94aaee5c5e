"""Where the heads that matter look at one decode step, as coloured text.

1. The heads active at the step are chosen, or those that you name.
2. The prompt is cut to windows around what they attend, around the evidence and before the query.
3. Each token is coloured by the attention that a head pays to it.

It looks into single cells of figure 1 of Retrieval Heads are Dynamic,
https://arxiv.org/abs/2602.11162.
"""

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from retrieval_lens.errors import InputError
from retrieval_lens.viz.labels import escape, visible
from retrieval_lens.viz.style import label
from retrieval_lens.viz.trace_like import TraceLike, head_pairs, step_scores, to_numpy, token_at
from retrieval_lens.viz.windows import runs, shown_positions

if TYPE_CHECKING:  # imported when an element is drawn: it takes torch along
    import circuitsvis.utils.render


def active_heads(trace: TraceLike, score: str, step: int, n_heads: int) -> list[tuple[int, int]]:
    """Choose the active heads of a step by score, then others by their evidence attention.

    Equal scores are ordered by the attention on the evidence (of the stored positions), then
    layer, then head.

    Raises:
        UnknownNameError: the trace holds no score of this name.
        InputError: fewer than one head is wanted.

    Examples:
        >>> from retrieval_lens.viz.demo import demo_trace
        >>> active_heads(demo_trace(), "copy_paste", step=3, n_heads=2)
        [(1, 0), (2, 1)]
    """
    if n_heads < 1:
        raise InputError(f"n_heads={n_heads}; wanted at least 1 head")
    values = step_scores(trace, score)[step]
    active = values > float(trace.thresholds[score][step])
    inside = np.isin(to_numpy(trace.top_positions[step]), to_numpy(trace.evidence))
    evidence = (to_numpy(trace.top_weights[step]) * inside).sum(axis=-1)
    ranked = np.where(active, values, 0.0).ravel()
    order = np.lexsort((-evidence.ravel(), -ranked, ~active.ravel()))[:n_heads]
    layers, heads = np.unravel_index(order, values.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def _weights(
    trace: TraceLike, step: int, chosen: list[tuple[int, int]], n_positions: int
) -> Float[np.ndarray, "pos head"]:
    """Attention of the chosen heads on every position; 0 where none is stored."""
    weights = np.zeros((n_positions, len(chosen)))
    for column, (layer, head) in enumerate(chosen):
        positions = to_numpy(trace.top_positions[step, layer, head])
        known = positions >= 0
        weights[positions[known], column] = to_numpy(trace.top_weights[step, layer, head])[known]
    return weights


def _token(text: str) -> str:
    """A token in running text: spaces stay spaces, the line breaks once after a newline."""
    return escape(visible(text, spaces=False)) + "\n" * ("\n" in text)


def _cut(
    trace: TraceLike, weights: Float[np.ndarray, "pos head"], window: int
) -> tuple[list[str], Float[np.ndarray, "token column"]]:
    """Tokens and values of the windows, which open with a position; gaps are counted."""
    n_positions, n_heads = weights.shape
    evidence = to_numpy(trace.evidence)
    inside = np.isin(np.arange(n_positions), evidence)
    columns = np.concatenate([weights, inside[:, None]], axis=1)
    centres = [*np.flatnonzero(weights.any(axis=1)), *evidence, n_positions - 1]
    generated = range(len(trace.prompt_str_tokens), n_positions)
    tokens, rows, expected = [], [], 0
    blank = np.zeros(n_heads + 1)
    for run in runs(shown_positions(map(int, [*centres, *generated]), window, n_positions)):
        if run[0] > expected:
            tokens.append(f" … {run[0] - expected} tokens …\n")
            rows.append(blank)
        tokens += [f"[{run[0]}] ", *(_token(token_at(trace, position)) for position in run)]
        rows += [blank, *columns[run]]
        expected = run[-1] + 1
    return tokens, np.stack(rows)


def _caption(trace: TraceLike, score: str, step: int, chosen: list[tuple[int, int]]) -> str:
    """What is shown and what is not, as escaped HTML."""
    values = to_numpy(trace.scores[score][step])
    threshold = float(trace.thresholds[score][step])
    heads = ", ".join(
        f"{label(*pair)} ({values[pair]:.2g}{', active' if values[pair] > threshold else ''})"
        for pair in chosen
    )
    query = len(trace.token_ids) - 1 + step
    text = (
        f"Step {step} looks from position {query}, “{visible(token_at(trace, query))}”, and "
        f"generates “{visible(trace.str_tokens[step])}”. Heads with their {score} score: {heads}. "
        "A number in brackets is the position of the token after it. "
        f"Only the {trace.top_positions.shape[-1]} most attended positions of each head are "
        "recorded; all others are drawn as 0."
    )
    return f'<p class="caption">{html.escape(text)}</p>'


def attention(
    trace: TraceLike,
    step: int,
    *,
    score: str = "copy_paste",
    heads: Iterable[Any] | None = None,
    n_heads: int = 4,
    window: int = 6,
) -> "circuitsvis.utils.render.RenderedHTML":
    """Colour the prompt by the attention of a few heads at one step.

    The prompt is cut to the tokens around every recorded position of these heads, around the
    evidence and before the query, with the generated tokens after it. A last column marks the
    evidence. **Only the `m` most attended positions of each head are in a trace: every other token
    is drawn as 0**, which the caption says too.

    Where a token holds `<`, `>` or `&`, its hover title shows them as `&lt;`, `&gt;`, `&amp;`:
    CircuitsVis reads the text as HTML but not the title.

    Args:
        trace: what each head did, with `top_positions` and `top_weights` of shape `[step, layer,
            head, m]`.
        step: the decode step, from 0.
        score: the score that tells which heads are active.
        heads: show these (layer, head) pairs instead of the active ones.
        n_heads: at most so many; those active first, then those that attend most to the evidence.
        window: tokens to show at each side.

    Returns:
        A CircuitsVis element that shows itself in a notebook, works offline and takes 1.3 MB there.

    Raises:
        UnknownNameError: the trace holds no score of this name.
        InputError: a step that the trace does not have, fewer than one head, a negative window, or
            a head that the model does not have.

    Examples:
        >>> from retrieval_lens.viz.demo import demo_trace
        >>> element = attention(demo_trace(), step=3)
        >>> "position 14, “2”, and generates “f”" in element.local_src
        True
    """
    n_steps, n_layers, n_model_heads = step_scores(trace, score).shape
    if not 0 <= step < n_steps:
        raise InputError(f"no step {step} in a trace of {n_steps} steps; they count from 0")
    if window < 0:
        raise InputError(f"window={window}; wanted 0 or more tokens at each side")
    if heads is None:
        chosen = active_heads(trace, score, step, n_heads)
    else:
        chosen = head_pairs(heads, n_layers, n_model_heads)
    weights = _weights(trace, step, chosen, len(trace.token_ids) + step)
    tokens, values = _cut(trace, weights, window)
    return _element(tokens, values, chosen, _caption(trace, score, step, chosen))


def _element(
    tokens: list[str],
    values: Float[np.ndarray, "token column"],
    chosen: list[tuple[int, int]],
    caption: str,
) -> "circuitsvis.utils.render.RenderedHTML":
    """Hand tokens and values to CircuitsVis, under a caption."""
    import torch
    from circuitsvis.tokens import colored_tokens_multi

    from retrieval_lens.viz.offline_html import OfflineHTML, close_container

    labels = [*(label(*pair) for pair in chosen), "evidence"]
    element = colored_tokens_multi(tokens, torch.tensor(values.round(4)), labels)
    return OfflineHTML(caption + close_container(element.local_src))
