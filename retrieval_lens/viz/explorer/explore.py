"""Walk through a trace: choose a step, a head or a prompt token, and see what belongs to it.

1. The generated tokens stand along the top, and under each the number of heads active there.
2. Under them is a map of heads × steps, coloured by a score; rows are sorted and filtered.
3. The prompt is cut to what matters: windows around the evidence, around what the heads in question
   look at and before the query. The rest is folded and opens.
4. A step shows where the heads active there look (the largest weight over them), a cell where that
   one head looks and what it would copy, a prompt token which heads look at it when.

It looks into figure 1 of Retrieval Heads are Dynamic, https://arxiv.org/abs/2602.11162.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.viz.explorer.payload import pack
from retrieval_lens.viz.labels import visible
from retrieval_lens.viz.trace_like import TraceLike, head_pairs

if TYPE_CHECKING:  # imported when a widget is made: the other figures do without
    import retrieval_lens.viz.explorer.widget

DEFAULT_SCORE = "copy_paste"


def explore(
    trace: Any,
    other: Any = None,
    *,
    score: str | None = None,
    static: Iterable[Any] | None = None,
    title: str | None = None,
    names: Sequence[str] = ("clean", "ablated"),
    window: int = 8,
    n_windows: int = 12,
) -> "retrieval_lens.viz.explorer.widget.Explorer":
    """Make an explorer of one trace, or of two of the same prompt side by side.

    It shows itself wherever anywidget does (Jupyter, VS Code, Colab, marimo); `save_html` makes a
    page of it.

    Args:
        trace: what each head did, with scores of shape `[step, layer, head]`.
        other: a second trace of the same prompt and model, the ablated one, say; it may have
            another number of steps. Rows are sorted by the first.
        score: the score to open with; `copy_paste` where there is one.
        static: a `HeadSet` or (layer, head) pairs to mark as static heads.
        title: plain text above; markup in it shows as text.
        names: of the two traces.
        window: prompt tokens to show at each side of what matters.
        n_windows: at most so many attended positions get a window at a step, largest weight first.

    Returns:
        A widget whose `step`, `head`, `position`, `score`, `sort`, `layers` and `selection` can be
        set and observed.

    Raises:
        UnknownNameError: the trace holds no score of this name.
        InputError: not a trace, a trace without steps or scores, two traces of different prompts
            or models, or a head that the model does not have.

    Example:
        >>> from retrieval_lens.viz.demo import demo_trace
        >>> widget = explore(demo_trace(), static=[(2, 1)])
        >>> widget.step = 3
        >>> widget.selection["step"], widget.score
        (3, 'copy_paste')
    """
    traces = [trace] if other is None else [trace, other]
    for one in traces:
        if not isinstance(one, TraceLike):
            raise InputError(f"explore takes a trace; received a {type(one).__name__}")
    for name, value in (("window", window), ("n_windows", n_windows)):
        if value < 0:
            raise InputError(f"{name}={value}; wanted 0 or more")
    if isinstance(names, str) or len(names) < len(traces):
        raise InputError(f"names={names!r}; wanted a name for each trace")
    meta, data = pack(traces, list(names))
    chosen = _opening(meta["scores"], score)
    n_layers, n_heads = meta["n_layers"], meta["n_heads"]
    pairs = None if static is None else head_pairs(static, n_layers, n_heads)
    meta |= {
        "title": visible(title or "Heads, step by step", spaces=False),
        "static": None if pairs is None else [layer * n_heads + head for layer, head in pairs],
        "window": window,
        "n_windows": n_windows,
    }
    from retrieval_lens.viz.explorer.widget import Explorer

    return Explorer(meta, data, chosen)


def _opening(scores: list[str], score: str | None) -> str:
    if score is None:
        return DEFAULT_SCORE if DEFAULT_SCORE in scores else scores[0]
    if score not in scores:
        known = ", ".join(map(repr, scores))
        raise UnknownNameError(f"no score {score!r} in this trace; it holds: {known}")
    return score
