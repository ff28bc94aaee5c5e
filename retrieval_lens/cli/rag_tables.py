"""What `rag answer` and `rag evaluate` print."""

from collections.abc import Sequence
from typing import Any

from retrieval_lens.errors import UnknownNameError

TOLD = ("em", "f1", "evidence_recall", "revealed_share", "n_retrievals")
FIRST = "first_recall"
SHOWN = ("em", "f1", FIRST, "first_share", *TOLD[2:])
NAMES = ("EM", "F1", "1st", "of", "recall", "of", "asked")


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
    console.print(", ".join(f"{name} {found.metrics[name]:.2f}" for name in TOLD))


def print_comparison(frame: Any, baseline: str | None) -> None:
    """One line a strategy: means over questions; then what it finds beside the baseline.

    What is compared is the recall of the first retrieval, where all are in the same place.

    Raises:
        UnknownNameError: No such strategy.
    """
    from retrieval_lens.experiments import strategy_means

    means = strategy_means(frame, SHOWN)
    names = list(dict.fromkeys(means["strategy"]))
    first = _named(names, baseline)
    rows = [
        [name, *(_number(means.loc[means["strategy"] == name, one].mean()) for one in SHOWN)]
        for name in names
    ]
    n = means["question_id"].nunique()
    _print_table(f"Means over {n} question{'' if n == 1 else 's'}", ["strategy", *NAMES], rows)
    beside = [] if first is None else _beside(means, first)
    if beside:
        heading = f"Recall of the first retrieval over that of {first}"
        _print_table(heading, ["strategy", "difference [95 %]", "questions"], beside)


def _print_table(title: str, columns: Sequence[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _named(names: list[str], baseline: str | None) -> str | None:
    """The strategy that is meant; by default dynamic, if it is there."""
    wanted = baseline or "dynamic"
    found = next((one for one in names if wanted in (one, one.split(" ")[0])), None)
    if found is None and baseline is not None:
        known = ", ".join(names)
        raise UnknownNameError(f"no strategy {baseline!r} in the results; known: {known}")
    return found


def _beside(means: Any, first: str) -> list[list[str]]:
    """Paired differences, over the questions for which both have a first retrieval."""
    from retrieval_lens.analysis import compare_conditions

    asked = means[means[FIRST].notna()]
    if first not in set(asked["strategy"]) or asked["strategy"].nunique() < 2:
        return []
    compared = compare_conditions(asked, FIRST, baseline=first, condition="strategy")
    return [
        [
            row["condition"],
            f"{row['difference']:+.3f}"
            + ("" if row["low"] != row["low"] else f" [{row['low']:+.3f}, {row['high']:+.3f}]"),
            str(row["n_pairs"]),
        ]
        for row in compared.to_dict("records")
    ]


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
