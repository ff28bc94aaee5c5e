"""`retrieval-lens detect`: score every head on needle prompts, and write the ranking."""

from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval_lens.cli import options
from retrieval_lens.errors import InputError

if TYPE_CHECKING:
    from retrieval_lens.detectors import Detection, HeadDetector


class DetectorName(StrEnum):
    """Which detector."""

    wu = "wu"
    copy_paste = "copy_paste"
    reasoning = "reasoning"
    qrhead = "qrhead"
    headkv = "headkv"


def detect(
    model: options.Model = "smollm2-135m",
    detector: Annotated[
        DetectorName, typer.Option(help="Wu et al., the mean of a step score, QRHead or HeadKV-R2.")
    ] = DetectorName.wu,
    n_tokens: Annotated[
        list[int] | None,
        typer.Option(help="Length of the haystack in tokens; may be repeated; 200 if not given."),
    ] = None,
    depth: Annotated[
        list[float] | None,
        typer.Option(
            help="Depth of the needle; may be repeated; five depths from 0 to 1 if not given."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Needles at each length and depth.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the first needle; the others count on.")] = 0,
    haystack: options.Haystack = None,
    needle: options.Needle = "magic_word",
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
    from retrieval_lens.tasks import needle_example

    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise InputError(f"--out {out} is a folder, or in a folder that does not exist")
    if seeds < 1 or top < 1:
        raise InputError(f"wanted --seeds and --top of at least 1; got {seeds} and {top}")
    bridge = load_model(model, device=device, dtype=dtype)
    lengths, depths = n_tokens or [200], depth or [0, 0.25, 0.5, 0.75, 1]
    examples = [
        needle_example(bridge.tokenizer, length, at, number, haystack, needle=needle)
        for length, at, number in product(lengths, depths, range(seed, seed + seeds))
    ]
    found = run(
        bridge, examples, _detector(detector), max_new_tokens=max_new_tokens, batch_size=batch_size
    )
    if out is not None:
        found.heads().save(out)
    _print(found, top, out)


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
