"""`retrieval-lens trace`: one prompt, the heads of every step, as a table, JSON or a trace file."""

import json
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval_lens.cli import options, tasks
from retrieval_lens.errors import InputError

if TYPE_CHECKING:
    from retrieval_lens.tasks import RetrievalExample


NEEDLE: dict[str, Any] = {"n_tokens": 1000, "depth": 0.5}
QUESTION: dict[str, Any] = {"question": 0, "order": "given"}


class Format(StrEnum):
    """How the result is printed."""

    table = "table"
    json = "json"


class ScoreName(StrEnum):
    """What a table is about."""

    copy_paste = "copy_paste"
    reasoning = "reasoning"


class EngineName(StrEnum):
    """How the model is run."""

    auto = "auto"
    fast = "fast"
    hooks = "hooks"


def trace(
    model: options.Model = "smollm2-135m",
    task: tasks.TaskName = tasks.Task.needle,
    seed: tasks.Seed = None,
    n_tokens: Annotated[
        int | None,
        tasks.option(tasks.NEEDLE, "Length of the haystack in tokens.", NEEDLE["n_tokens"]),
    ] = None,
    depth: Annotated[
        float | None,
        tasks.option(
            tasks.NEEDLE, "Where the needle goes: 0 is the start, 1 the end.", NEEDLE["depth"]
        ),
    ] = None,
    haystack: tasks.Haystack = None,
    needle: tasks.Needle = None,
    source: tasks.Source = None,
    reader: tasks.Reader = None,
    question: Annotated[
        int | None,
        tasks.option(tasks.QUESTIONS, "Which, counted from 0 in the order of the file.", 0),
    ] = None,
    n_paragraphs: Annotated[
        str | None,
        tasks.option(
            tasks.QUESTIONS,
            "Paragraphs of the context, the gold ones among them: a number, or all.",
            tasks.DEFAULTS["n_paragraphs"],
        ),
    ] = None,
    order: Annotated[
        str | None,
        tasks.option(
            tasks.QUESTIONS,
            "Of the paragraphs: given, shuffled, facts_first, facts_middle or facts_last.",
            QUESTION["order"],
        ),
    ] = None,
    max_tokens: tasks.MaxTokens = None,
    prompt: Annotated[
        Path | None,
        tasks.option(tasks.TEXT, "A text file to trace instead of a task's prompt."),
    ] = None,
    evidence: Annotated[
        list[str] | None,
        tasks.option(tasks.TEXT, "With --prompt: a word or sentence of it; may be repeated."),
    ] = None,
    answer: Annotated[
        str | None, tasks.option(tasks.TEXT, "With --prompt: what a right response holds.")
    ] = None,
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
    score: Annotated[
        ScoreName | None,
        typer.Option(
            help="What the table shows: the heads of both scores (copy_paste), or those of the "
            "reasoning score beside chance and threshold.",
            show_default="reasoning for questions, else copy_paste",
        ),
    ] = None,
) -> None:
    """Trace one prompt and print which heads were active at which step."""
    from retrieval_lens.models import load_model
    from retrieval_lens.scores import CopyPaste, Reasoning
    from retrieval_lens.tasks import needle_example
    from retrieval_lens.tracing import RetrievalTracer

    drawn = tasks.group({}, seed=seed)
    in_haystack = tasks.group(
        NEEDLE, n_tokens=n_tokens, depth=depth, haystack=haystack, needle=needle
    )
    asked = tasks.group(
        QUESTION,
        source=source,
        reader=reader,
        question=question,
        n_paragraphs=n_paragraphs,
        order=order,
        max_tokens=max_tokens,
    )
    text = tasks.group(
        {"evidence": [], "answer": ""}, prompt=prompt, evidence=evidence, answer=answer
    )
    if prompt is None and text.given:
        raise InputError("--evidence and --answer need --prompt; a task's prompts have their own")
    if task is tasks.Task.questions:
        tasks.refuse("--task questions", in_haystack, text)
        load = _question(**asked.values, **drawn.values, chat=chat)
    elif prompt is not None:
        tasks.refuse("--prompt", in_haystack, asked, drawn)
        if not evidence:
            raise InputError(
                "--prompt needs --evidence: a word or sentence of it that heads may fetch"
            )
        load = partial(_own_text, _read(prompt), **text.values, chat=chat)
    else:
        tasks.refuse("--task needle", asked)
        load = partial(needle_example, **in_haystack.values, **drawn.values, chat=chat)
    if score is not None and format is Format.json:
        tasks.refuse("--format json, which holds both", tasks.group({}, score=score))
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise InputError(f"--out {out} is a folder, or in a folder that does not exist")
    bridge = load_model(model, device=device, dtype=dtype)
    example = load(bridge.tokenizer)
    scores = [CopyPaste(), CopyPaste(match="position"), Reasoning()]
    result = RetrievalTracer(bridge, scores).trace(example, max_new_tokens, engine.value)
    if out is not None:
        result.save(out)
    about = ScoreName.reasoning if task is tasks.Task.questions else ScoreName.copy_paste
    _print(result, format, out, score or about, example)


def _question(
    question: int, n_paragraphs: str, order: str, seed: int, **more: Any
) -> "Callable[[Any], RetrievalExample]":
    """From a tokenizer to the prompt of one question."""
    if question < 0:
        raise InputError(f"--question counts from 0; got {question}")
    one_each = {"--n-paragraphs": tasks.paragraphs(n_paragraphs), "--order": options.names(order)}
    for name, values in one_each.items():
        if len(values or ()) != 1:
            raise InputError(
                f"{name} wants one value here; got {','.join(map(str, values or ()))!r}"
            )
    load = tasks.questions(
        questions=str(question), n_paragraphs=n_paragraphs, orders=order, seeds=[seed], **more
    )
    return lambda tokenizer: load(tokenizer)[0]


def _own_text(
    text: str, tokenizer: Any, prompt: Path, evidence: list[str], answer: str, chat: bool | None
) -> "RetrievalExample":
    from retrieval_lens.tasks import RetrievalExample

    if chat is None:
        chat = bool(getattr(tokenizer, "chat_template", None))
    return RetrievalExample.from_text(
        tokenizer, text, evidence, answer=answer, id=prompt.name, chat=chat
    )


def _read(prompt: Path) -> str:
    """The text of a file without the line end that editors put last: it would change the answer."""
    if not prompt.is_file():
        raise InputError(f"--prompt takes a text file, and {str(prompt)[:80]!r} is none")
    try:
        return prompt.read_text("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{prompt} is not UTF-8 text ({error.reason})") from error


def _print(result: Any, format: Format, out: Path | None, score: ScoreName, example: Any) -> None:
    from rich.console import Console
    from rich.markup import escape

    from retrieval_lens.cli import tables

    if format is Format.json:
        typer.echo(json.dumps(tables.as_json(result), indent=2))
        return
    console = Console()
    of = {ScoreName.copy_paste: tables.step_table, ScoreName.reasoning: tables.reasoning_table}
    console.print(of[score](result))
    if example.meta.get("task") == "multihop":
        console.print(f"question: {escape(tables.printable(example.question))}")
        console.print(f"answer:   {escape(tables.printable(example.answer))}")
    console.print(f"response: {escape(tables.printable(result.text))}")
    console.print(tables.summary(result))
    strongest = tables.strongest_heads([result], score.value, 8)
    named = "  ".join(f"{name} {mean:.2f}" for name, mean in strongest if mean > 0)
    console.print(f"strongest by mean {score.value} score: {named or 'none'}")
    console.print("--format json names every active head of every step")
    if out is not None:
        console.print(f"trace written to {escape(str(out))}")
