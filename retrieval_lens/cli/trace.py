"""`retrieval-lens trace`: one prompt, the heads of every step, as a table, JSON or a trace file."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval_lens.cli import options
from retrieval_lens.errors import InputError

if TYPE_CHECKING:
    from retrieval_lens.tasks import RetrievalExample


class Format(StrEnum):
    """How the result is printed."""

    table = "table"
    json = "json"


class EngineName(StrEnum):
    """How the model is run."""

    auto = "auto"
    fast = "fast"
    hooks = "hooks"


def trace(
    model: options.Model = "smollm2-135m",
    n_tokens: options.Tokens = 1000,
    depth: options.Depth = 0.5,
    seed: options.Seed = 0,
    haystack: options.Haystack = None,
    needle: options.Needle = "magic_word",
    prompt: Annotated[
        Path | None, typer.Option(help="A text file to trace instead of a needle prompt.")
    ] = None,
    evidence: Annotated[
        list[str] | None, typer.Option(help="With --prompt: a sentence of it; may be repeated.")
    ] = None,
    answer: Annotated[str, typer.Option(help="With --prompt: what a right response holds.")] = "",
    chat: Annotated[
        bool | None, typer.Option(help="Use the chat template; by default if there is one.")
    ] = None,
    max_new_tokens: options.MaxNewTokens = 64,
    engine: Annotated[EngineName, typer.Option(help="How the model is run.")] = EngineName.auto,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    out: Annotated[
        Path | None, typer.Option(help="Write the whole trace here (safetensors).")
    ] = None,
    format: Annotated[Format, typer.Option(help="What is printed.")] = Format.table,
) -> None:
    """Trace one prompt and print which heads were active at which step."""
    from retrieval_lens.models import load_model
    from retrieval_lens.scores import CopyPaste, Reasoning
    from retrieval_lens.tasks import needle_example
    from retrieval_lens.tracing import RetrievalTracer

    if prompt is None and (evidence or answer):
        raise InputError("--evidence and --answer need --prompt; the needle prompt has its own")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise InputError(f"--out {out} is a folder, or in a folder that does not exist")
    bridge = load_model(model, device=device, dtype=dtype)
    if prompt is None:
        example = needle_example(
            bridge.tokenizer, n_tokens, depth, seed, haystack, needle=needle, chat=chat
        )
    else:
        example = _own_text(bridge, prompt, evidence or [], answer, chat)
    scores = [CopyPaste(), CopyPaste(match="position"), Reasoning()]
    result = RetrievalTracer(bridge, scores).trace(example, max_new_tokens, engine.value)
    if out is not None:
        result.save(out)
    _print(result, format, out)


def _own_text(
    bridge: Any, prompt: Path, evidence: list[str], answer: str, chat: bool | None
) -> "RetrievalExample":
    from retrieval_lens.tasks import RetrievalExample

    try:
        text = prompt.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{prompt} is not UTF-8 text ({error.reason})") from error
    if chat is None:
        chat = bool(getattr(bridge.tokenizer, "chat_template", None))
    return RetrievalExample.from_text(
        bridge.tokenizer, text, evidence, answer=answer, id=prompt.name, chat=chat
    )


def _print(result: Any, format: Format, out: Path | None) -> None:
    from rich.console import Console
    from rich.markup import escape

    from retrieval_lens.cli.tables import as_json, printable, step_table, summary

    if format is Format.json:
        typer.echo(json.dumps(as_json(result), indent=2))
        return
    console = Console()
    console.print(step_table(result))
    console.print(f"response: {escape(printable(result.text))}")
    console.print(summary(result))
    if out is not None:
        console.print(f"trace written to {escape(str(out))}")
