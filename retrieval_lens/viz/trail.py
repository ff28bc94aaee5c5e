"""The trail of a Dynamic RAG answer: what was drafted, what was shown, and where the facts are.

1. A row is a round, the first on top; the horizontal axis is the context, token by token.
2. Pale bars are what the draft of the round could see, blue ones the windows that its rewrite could
   see, dots the positions that the chosen heads looked at most. Below all rows, in orange, are the
   facts.
3. The hover of a row tells its draft, what was kept of it, and the rewrite.

Source: section 5 and appendix E of https://arxiv.org/abs/2602.11162.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from retrieval_lens.errors import InputError
from retrieval_lens.viz.labels import clip, escape, lines, visible
from retrieval_lens.viz.style import FRAMED, PALETTE, arrange, label
from retrieval_lens.viz.windows import runs

BLUE, ORANGE = PALETTE[:2]
PALE, GREY, DOT = "#b5d3ec", "#e6eaef", "#08294d"
FACTS = "facts"


def trail(
    answer: Any,
    *,
    title: str | None = None,
    template: Any = None,
    width: int | None = None,
    height: int | None = None,
) -> go.Figure:
    """Draw what was shown in each round of an answer.

    Source: Algorithms 1 and 2 of
    [Retrieval Heads are Dynamic](https://arxiv.org/abs/2602.11162).

    Args:
        answer: What `rag.answer` returned, or `Answer.load`.
        title: Plain text above the figure; markup in it shows as text.
        template: A Plotly template; white by default.
        width: In pixels; by default that of the page.
        height: In pixels; by default it grows with the number of rounds.

    Raises:
        InputError: No answer with its trail, or one without a round.

    Examples:
        ```python
        question = rl.tasks.hotpotqa.own(model.tokenizer, n_paragraphs=2, limit=1)[0]
        settings = rl.rag.Settings(rl.rag.RIND(threshold=0.1), max_tokens=8)
        rl.viz.trail(rl.rag.answer(model, question, rl.rag.OracleDynamic(), settings))
        ```
    """
    rounds = getattr(answer, "rounds", None)
    if not rounds:
        raise InputError(f"wanted an answer of rag.answer with its rounds; got {answer!r:.80}")
    start, end = answer.provenance["context"]
    rows = [*range(len(rounds)), len(rounds)]
    figure = go.Figure()
    told = [*map(_hover, rounds), "the facts"]
    figure.add_trace(_bars([(start, end, row) for row in rows], GREY, "context", told))
    seen = [(*span, row) for row, one in enumerate(rounds) for span in one.seen]
    if seen:
        figure.add_trace(_bars(seen, PALE, "seen by the draft", [told[row] for *_, row in seen]))
    shown = [(*span, row) for row, one in enumerate(rounds) for span in one.windows or ()]
    texts = [told[row] + f"<br>tokens {a} to {b - 1}" for a, b, row in shown]
    figure.add_trace(_bars(shown, BLUE, "shown to the rewrite", texts))
    groups = runs(np.array(answer.provenance["evidence"], dtype=int))
    facts = [(group[0], group[-1] + 1, len(rounds)) for group in groups]
    figure.add_trace(_bars(facts, ORANGE, FACTS, ["a fact"]))
    figure.add_trace(_looked_at(rounds))
    ticks = [*(_tick(row, one) for row, one in enumerate(rounds)), FACTS]
    figure.update_layout(
        barmode="overlay",
        bargap=0.35,
        xaxis=FRAMED | {"title": {"text": "token of the prompt"}, "range": [start - 1, end + 1]},
        yaxis=FRAMED | {"tickvals": rows, "ticktext": ticks, "autorange": "reversed"},
    )
    return arrange(
        figure,
        title or f"“{clip(visible(answer.text, spaces=False), 90)}”",
        _subtitle(answer),
        template,
        width,
        height or 210 + 34 * len(rows),
    )


def _bars(spans: Sequence[tuple[int, int, int]], colour: str, name: str, texts: Any) -> go.Bar:
    """One bar a (start, end, row); a single text stands for all."""
    texts = texts * len(spans) if len(texts) == 1 else texts
    return go.Bar(
        x=[end - start for start, end, _ in spans],
        base=[start - 0.5 for start, _, _ in spans],
        y=[row for _, _, row in spans],
        orientation="h",
        marker={"color": colour, "line": {"width": 0}},
        name=name,
        hovertext=texts,
        hoverinfo="text",
    )


def _looked_at(rounds: Sequence[Any]) -> go.Scatter:
    places = [(position, row) for row, one in enumerate(rounds) for position in one.positions]
    return go.Scatter(
        x=[position for position, _ in places],
        y=[row for _, row in places],
        mode="markers",
        marker={"color": DOT, "size": 6, "line": {"color": "white", "width": 1}},
        name="most attended",
        hovertext=[f"most attended: token {position}" for position, _ in places],
        hoverinfo="text",
    )


def _tick(row: int, one: Any) -> str:
    """Which word fired, or that none did."""
    what = "kept" if one.hit is None else f"‘{clip(visible(one.hit, spaces=False), 14)}’ fired"
    return f"{row + 1}: {escape(what)}"


def _hover(one: Any) -> str:
    parts = [("draft", one.draft), ("kept", one.kept), ("rewritten", one.rewrite)]
    told = [
        f"<b>{name}</b> {lines(visible(text.strip(), spaces=False), 60)}"
        for name, text in parts
        if text
    ]
    if one.heads:
        told.append("<b>heads</b> " + ", ".join(label(*head) for head in one.heads))
    return "<br>".join(told)


def _subtitle(answer: Any) -> str:
    metrics, strategy = answer.metrics, answer.provenance["strategy"]
    n = int(metrics["n_retrievals"])
    told = [str(strategy.get("name", "")), f"{n} retrieval{'' if n == 1 else 's'}"]
    told += [f"{metrics['evidence_recall']:.0%} of the facts in"]
    told[-1] += f" {metrics['revealed_share']:.0%} of the context"
    told += [f"{name.upper()} {metrics[name]:.2f}" for name in ("em", "f1") if name in metrics]
    return " · ".join([*filter(None, told), f"ended by {answer.stopped_by.replace('_', ' ')}"])
