"""`retrieval-lens detect`: score every head on needles or questions, and write the ranking."""

from enum import StrEnum
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval_lens.cli import options, tasks
from retrieval_lens.errors import InputError

if TYPE_CHECKING:
    from retrieval_lens.detectors import Detection, HeadDetector
    from retrieval_lens.tasks import RetrievalExample

NEEDLES: dict[str, Any] = {"n_tokens": [200], "depth": [0, 0.25, 0.5, 0.75, 1], "seeds": 2}
QUESTIONS = {"questions": "0-9"}


class DetectorName(StrEnum):
    """Which detector."""

    wu = "wu"
    copy_paste = "copy_paste"
    reasoning = "reasoning"
    qrhead = "qrhead"
    headkv = "headkv"


def detect(
    model: options.Model = "smollm2-135m",
    task: tasks.TaskName = tasks.Task.needle,
    detector: Annotated[
        DetectorName | None,
        typer.Option(
            help="Wu et al., the mean of a step score, QRHead or HeadKV-R2.",
            show_default="reasoning for questions, else wu",
        ),
    ] = None,
    n_tokens: Annotated[
        list[int] | None,
        tasks.option(tasks.NEEDLE, "Length of the haystack in tokens; may be repeated.", 200),
    ] = None,
    depth: Annotated[
        list[float] | None,
        tasks.option(
            tasks.NEEDLE, "Depth of the needle; may be repeated.", "five depths from 0 to 1"
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        tasks.option(
            tasks.NEEDLE,
            "Needles at each length and depth; their seeds count up from --seed.",
            NEEDLES["seeds"],
        ),
    ] = None,
    seed: tasks.Seed = None,
    haystack: tasks.Haystack = None,
    needle: tasks.Needle = None,
    source: tasks.Source = None,
    reader: tasks.Reader = None,
    questions: Annotated[
        str | None,
        tasks.option(tasks.QUESTIONS, tasks.WHICH, QUESTIONS["questions"]),
    ] = None,
    n_paragraphs: tasks.Paragraphs = None,
    orders: tasks.Orders = None,
    max_tokens: tasks.MaxTokens = None,
    max_new_tokens: options.MaxNewTokens = 64,
    batch_size: Annotated[int, typer.Option(help="Prompts that run together.")] = 8,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    top: Annotated[int, typer.Option(help="How many heads are printed.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Write the ranking of all heads here (JSON head set).")
    ] = None,
) -> None:
    """Find a model's retrieval heads and print the strongest."""
    from retrieval_lens.detectors import detect as run
    from retrieval_lens.models import load_model
    from retrieval_lens.tasks import Questions

    needles = tasks.group(
        NEEDLES, n_tokens=n_tokens, depth=depth, seeds=seeds, haystack=haystack, needle=needle
    )
    asked = tasks.group(
        QUESTIONS,
        source=source,
        reader=reader,
        questions=questions,
        n_paragraphs=n_paragraphs,
        orders=orders,
        max_tokens=max_tokens,
    )
    tasks.refuse_other(task, needles, asked)
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise InputError(f"--out {out} is a folder, or in a folder that does not exist")
    if needles.values["seeds"] < 1 or top < 1:
        raise InputError(
            f"wanted --seeds and --top of at least 1; got {needles.values['seeds']} and {top}"
        )
    first = seed or 0
    if task is tasks.Task.questions:
        load = tasks.questions(**asked.values, seeds=[first])
    else:
        load = partial(_needles, first=first, **needles.values)
    bridge = load_model(model, device=device, dtype=dtype)
    examples = load(bridge.tokenizer)
    if isinstance(examples, Questions):
        typer.echo(examples.summary())
    by = DetectorName.reasoning if task is tasks.Task.questions else DetectorName.wu
    chosen = _detector(detector or by)
    found = run(bridge, examples, chosen, max_new_tokens=max_new_tokens, batch_size=batch_size)
    if out is not None:
        found.heads().save(out)
    _print(found, top, out)


def _needles(
    tokenizer: Any,
    n_tokens: list[int],
    depth: list[float | int],
    seeds: int,
    first: int,
    **more: Any,
) -> "list[RetrievalExample]":
    from retrieval_lens.tasks import needle_example

    return [
        needle_example(tokenizer, length, at, number, **more)
        for length, at, number in product(n_tokens, depth, range(first, first + seeds))
    ]


def _detector(name: DetectorName) -> "HeadDetector":
    from retrieval_lens.detectors import HeadKV, QRHead, ScoreMean, Wu
    from retrieval_lens.scores import CopyPaste, Reasoning

    known = {
        DetectorName.wu: Wu,
        DetectorName.copy_paste: lambda: ScoreMean(CopyPaste()),
        DetectorName.reasoning: lambda: ScoreMean(Reasoning()),
        DetectorName.qrhead: QRHead,
        DetectorName.headkv: HeadKV,
    }
    return known[name]()


def _print(found: "Detection", top: int, out: Path | None) -> None:
    from rich.console import Console
    from rich.markup import escape

    made = found.provenance()
    console = Console()
    console.print(f"strongest heads by {made['detector']}")
    console.print(_table(found.heads(), top))
    console.print(
        f"{made['share_above']:.1%} of {made['n_layers'] * made['n_heads']} heads score at least "
        f"{made['threshold']:g}"
    )
    console.print(f"{made['n_used']} of {made['n_samples']} examples count")
    if out is not None:
        console.print(f"ranking written to {escape(str(out))}", soft_wrap=True)


def _table(heads: Any, top: int) -> Any:
    from rich.table import Table

    table = Table()
    for column in ("rank", "head", "score"):
        table.add_column(column, justify="right")
    for rank, (head, score) in enumerate(zip(heads, heads.scores, strict=True), start=1):
        if rank > top:
            break
        table.add_row(str(rank), str(head), f"{score:.3f}")
    return table
