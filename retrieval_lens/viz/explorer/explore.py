"""Walk through a trace: choose a step, a head or a prompt token, and see what belongs to it.

1. The generated tokens stand along the top, and under each the number of heads active there.
2. Under them is a map of heads × steps, coloured by a score; rows are sorted and filtered.
3. The prompt is cut to what matters: windows around the evidence, around what the heads in question
   look at and before the query. The rest is folded and opens.
4. A step shows where the heads active there look (the largest weight over them), a cell where that
   one head looks and what it would copy, a prompt token which heads look at it when.

It looks into figure 1 of Retrieval Heads are Dynamic, https://arxiv.org/abs/2602.11162.
"""

from collections.abc import Sequence
from operator import index
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
    static: Any = None,
    title: Any = None,
    names: Any = ("clean", "ablated"),
    window: Any = 8,
    n_windows: Any = 12,
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
        names: of the two traces, plain text.
        window: prompt tokens to show at each side of what matters.
        n_windows: at most so many attended positions get a window at a step, largest weight first.

    Returns:
        A widget whose `step`, `head`, `position`, `score`, `sort`, `layers` and `selection` can be
        set and observed.

    Raises:
        UnknownNameError: the trace holds no score of this name.
        InputError: not a trace, a trace without steps or scores or whose parts do not fit, two
            traces of different prompts or models, a head that the model does not have, or a title,
            name or number that is none.

    Examples:
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
    if not (title is None or isinstance(title, str)):
        raise InputError(f"title={title!r:.80}; wanted text or None")
    windows = {"window": _size("window", window), "n_windows": _size("n_windows", n_windows)}
    meta, data = pack(traces, _names(names, len(traces)))
    chosen = _opening(meta["scores"], score)
    meta |= {
        "title": visible(title or "Heads, step by step", spaces=False),
        "static": _static(static, meta["n_layers"], meta["n_heads"]),
        **windows,
    }
    from retrieval_lens.viz.explorer.widget import Explorer

    return Explorer(meta, data, chosen)


def _size(argument: str, value: Any) -> int:
    try:
        number = -1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise InputError(f"{argument}={value!r:.80}; wanted a whole number, 0 or more")
    return number


def _names(names: Any, n_traces: int) -> list[str]:
    given = list(names) if isinstance(names, Sequence) and not isinstance(names, str) else []
    if len(given) < n_traces or not all(isinstance(name, str) for name in given):
        raise InputError(f"names={names!r:.80}; wanted a name, as text, for each trace")
    return given


def _static(static: Any, n_layers: int, n_heads: int) -> list[int] | None:
    """The numbers of the static heads, as the script counts heads."""
    if static is None:
        return None
    try:
        heads = list(static)
    except TypeError:
        heads = []
    if not heads:
        raise InputError(f"static={static!r:.80}; wanted one or more heads, or None")
    try:
        pairs = head_pairs(heads, n_layers, n_heads)
    except InputError as error:
        raise InputError(f"static: {error}") from None
    return [layer * n_heads + head for layer, head in pairs]


def _opening(scores: list[str], score: str | None) -> str:
    if score is None:
        return DEFAULT_SCORE if DEFAULT_SCORE in scores else scores[0]
    if score not in scores:
        known = ", ".join(map(repr, scores))
        raise UnknownNameError(f"no score {score!r} in this trace; it holds: {known}")
    return score
