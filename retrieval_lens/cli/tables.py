"""What the commands print: a trace as a table, or as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from retrieval_lens.heads import Head
from retrieval_lens.tracing import Trace

SHOWN = ("copy_paste", "reasoning")


def printable(text: str) -> str:
    """Text of a model for a terminal: control characters, which could steer it, are replaced."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def summary(trace: Trace) -> str:
    """Metrics, and how many head-steps are active by Eq. 1, in both readings, and by Eq. 2."""
    metrics = "  ".join(f"{name} {value:.2f}" for name, value in trace.metrics.items())
    counts = [int(trace.active(n).sum()) for n in ("copy_paste", "copy_paste_position")]
    copying = f"copy-paste {counts[0]} by token, {counts[1]} by position of the token"
    reasoning = f"reasoning {int(trace.active('reasoning').sum())}"
    return f"{metrics}\nhead-steps (a head that is active at a step): {copying}; {reasoning}"


def active_heads(trace: Trace, score: str) -> list[list[str]]:
    """Names of the active heads of each step, highest score first."""
    return [[name for name, _ in heads] for heads in _active(trace, score)]


def _active(trace: Trace, score: str) -> list[list[tuple[str, float]]]:
    active, scores = trace.active(score), trace.scores[score]
    steps = []
    for t in range(trace.n_steps):
        found = [
            (head, float(scores[t, head[0], head[1]])) for head in active[t].nonzero().tolist()
        ]
        found.sort(key=lambda one: (-one[1], one[0]))
        steps.append([(str(Head(*head)), value) for head, value in found])
    return steps


def strongest_heads(traces: Sequence[Any], score: str, n: int) -> list[tuple[str, float]]:
    """The `n` heads of largest mean score over all steps, ties by layer and head."""
    import torch

    mean = torch.cat([trace.scores[score] for trace in traces]).mean(0)
    order = mean.flatten().sort(descending=True, stable=True).indices[:n].tolist()
    n_heads = mean.shape[1]
    return [(str(Head(*divmod(i, n_heads))), float(mean[divmod(i, n_heads)])) for i in order]


def step_table(trace: Trace, most: int = 3) -> Table:
    """One line a step: the token, and by each score how many heads are active and which most."""
    table = Table(title="Active heads at each decode step, strongest first", title_justify="left")
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("token", no_wrap=True)
    by_score = {name: active_heads(trace, name) for name in SHOWN}
    for name in by_score:
        table.add_column(name, no_wrap=True)
    for t, token in enumerate(trace.str_tokens):
        cells = []
        for heads in by_score.values():
            more = " …" if len(heads[t]) > most else ""
            cells.append(f"{len(heads[t]):2d}  {' '.join(heads[t][:most])}{more}")
        table.add_row(str(t), escape(repr(token)[1:-1]), *cells)
    return table


def reasoning_table(trace: Trace, most: int = 3) -> Table:
    """One line a step: chance level and threshold of Eq. 2, and the heads above it."""
    title = "Heads above the threshold of the reasoning score, strongest first"
    table = Table(title=title, title_justify="left")
    for name in ("step", "token", "chance", "threshold", "heads", "strongest"):
        left = name in ("token", "strongest")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for t, (token, heads) in enumerate(
        zip(trace.str_tokens, _active(trace, "reasoning"), strict=True)
    ):
        levels = [f"{float(of['reasoning'][t]):.3f}" for of in (trace.chance, trace.thresholds)]
        strongest = "  ".join(f"{name} {value:.2f}" for name, value in heads[:most])
        table.add_row(str(t), escape(repr(token)[1:-1]), *levels, str(len(heads)), strongest)
    return table


def as_json(trace: Trace) -> dict[str, Any]:
    """The trace as JSON: response, metrics, and each step's heads, chance level and threshold.

    A chance level that has no meaning is null.
    """
    by_score = {name: active_heads(trace, name) for name in trace.scores}
    steps = [
        {
            "step": t,
            "token": token,
            "active": {name: by_score[name][t] for name in by_score},
            "chance": {name: _number(values[t]) for name, values in trace.chance.items()},
            "threshold": {name: _number(values[t]) for name, values in trace.thresholds.items()},
        }
        for t, token in enumerate(trace.str_tokens)
    ]
    return {
        "text": trace.text,
        "truncated": trace.truncated,
        "metrics": trace.metrics,
        "steps": steps,
        "strongest": {
            name: [{"head": h, "mean_score": s} for h, s in strongest_heads([trace], name, 10)]
            for name in trace.scores
        },
        "provenance": dict(trace.provenance),
    }


def _number(value: Any) -> float | None:
    """JSON has no NaN."""
    return None if value != value else float(value)
