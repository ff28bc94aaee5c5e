"""What `rag answer` and `rag evaluate` print."""

from typing import Any

from retrieval_lens.errors import UnknownNameError

TOLD = ("em", "f1", "evidence_recall", "revealed_share", "n_retrievals")
FIRST = "first_recall"
SHOWN = ("em", "f1", FIRST, "first_share", *TOLD[2:])
NAMES = ("EM", "F1", "1st recall", "1st shown", "recall", "shown", "asked")


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
    """One line a strategy: means over questions, and what it finds beside the baseline.

    What is compared is the recall of the first retrieval, where all are in the same place.

    Raises:
        UnknownNameError: No such strategy.
    """
    from rich.console import Console
    from rich.table import Table

    from retrieval_lens.experiments import strategy_means

    means = strategy_means(frame, SHOWN)
    names = list(dict.fromkeys(means["strategy"]))
    first = _named(names, baseline)
    beside = {} if first is None else _beside(means, first)
    n = means["question_id"].nunique()
    told = f"Means over {n} question{'s' if n != 1 else ''}"
    table = Table(title=told + (f", beside {first}" if first else ""), title_justify="left")
    columns = ["strategy", *NAMES, *(["1st recall over it"] if first else [])]
    for column in columns:
        left = column == "strategy"
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for name in names:
        part = means[means["strategy"] == name]
        numbers = [_number(part[one].mean()) for one in SHOWN]
        table.add_row(name, *numbers, *([beside.get(name, "")] if first else []))
    Console().print(table)


def _named(names: list[str], baseline: str | None) -> str | None:
    """The strategy that is meant; by default dynamic, if it is there."""
    wanted = baseline or "dynamic"
    found = next((one for one in names if wanted in (one, one.split(" ")[0])), None)
    if found is None and baseline is not None:
        known = ", ".join(names)
        raise UnknownNameError(f"no strategy {baseline!r} in the results; known: {known}")
    return found


def _beside(means: Any, first: str) -> dict[str, str]:
    """Paired difference in the first retrieval's recall, of the questions that have one."""
    from retrieval_lens.analysis import compare_conditions

    asked = means[means[FIRST].notna()]
    if first not in set(asked["strategy"]) or asked["strategy"].nunique() < 2:
        return {}
    compared = compare_conditions(asked, FIRST, baseline=first, condition="strategy")
    return {
        row["condition"]: f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        if row["low"] == row["low"]
        else _number(row["difference"])
        for row in compared.to_dict("records")
    }


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
