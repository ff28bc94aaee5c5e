"""What `rag answer` and `rag evaluate` print."""

from typing import Any

SHOWN = ("em", "f1", "evidence_recall", "revealed_share", "n_retrievals")
HEADINGS = dict(zip(SHOWN, ("EM", "F1", "recall", "shown", "asked"), strict=True))


def print_answer(found: Any, example: Any) -> None:
    """What happened, round by round."""
    from rich.console import Console
    from rich.markup import escape

    from retrieval_lens.cli.tables import printable

    console = Console()
    console.print(f"question: {escape(printable(example.question))}")
    for number, one in enumerate(found.rounds, start=1):
        console.print(f"round {number}, draft: {escape(printable(one.draft))}")
        if one.windows is None:
            continue
        heads = ", ".join(f"L{layer}H{head}" for layer, head in one.heads or ())
        shown = sum(end - start for start, end in one.windows)
        console.print(
            f"  {escape(repr(printable(one.hit or '')))} fired; "
            + (f"heads {heads}; " if heads else "")
            + f"{shown} tokens shown in {len(one.windows)} windows"
        )
        console.print(f"  rewritten: {escape(printable(one.rewrite or ''))}")
    console.print(f"answer: {escape(printable(found.text))} ({found.stopped_by})")
    console.print(f"right: {escape(printable(example.answer))}")
    console.print(", ".join(f"{name} {found.metrics[name]:.2f}" for name in SHOWN))


def print_comparison(frame: Any, baseline: str) -> None:
    """One line a strategy: means over its answers, and the paired difference in evidence recall."""
    from rich.console import Console
    from rich.table import Table

    from retrieval_lens.analysis import compare_conditions

    valid = frame[frame["valid"]]
    by = ["condition", "k", "question_id"]
    means = valid.groupby(by, as_index=False, dropna=False, sort=False)[list(SHOWN)].mean()
    names = [
        f"{name} k={int(k)}" if with_k else name
        for name, k, with_k in zip(means["condition"], means["k"], means["k"].notna(), strict=True)
    ]
    means = means.assign(strategy=names)
    first = next((name for name in names if name.split(" ")[0] == baseline), None)
    beside_what = f", beside {first}" if first else ""
    table = Table(title=f"Means over questions{beside_what}", title_justify="left")
    columns = ["strategy", *map(HEADINGS.get, SHOWN), *(["recall over it"] if first else [])]
    for column in columns:
        left = column == "strategy"
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    beside = {}
    if first and len(set(names)) > 1:
        compared = compare_conditions(
            means, "evidence_recall", baseline=first, condition="strategy"
        )
        for row in compared.to_dict("records"):
            beside[row["condition"]] = (
                f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            )
    for name in dict.fromkeys(names):
        part = means[means["strategy"] == name]
        numbers = [f"{part[one].mean():.3f}" for one in SHOWN]
        table.add_row(name, *numbers, *([beside.get(name, "")] if first else []))
    Console().print(table)
