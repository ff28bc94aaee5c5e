"""`retrieval-lens collect`: trace many needles or questions into a corpus on disk."""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval_lens.cli import options, tasks


class Stored(StrEnum):
    """What hidden states are stored in."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


NEEDLES: dict[str, Any] = {
    "n": 320,
    "n_tokens": "100,150,200,250,300",
    "depths": "0,0.25,0.5,0.75,1",
    "haystacks": "letters,workshop,coast,essays",
    "needles": "magic_word",
    "first_seed": 2000,
}
QUESTIONS = {"questions": "0-60", "seeds": "0"}


def collect(
    out: Annotated[Path, typer.Option(help="Folder of the corpus; made, or gone on with.")],
    model: options.Model = "smollm2-135m",
    task: tasks.TaskName = tasks.Task.needle,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            help="How many prompts.",
            show_default=str(NEEDLES["n"]),
            rich_help_panel=tasks.NEEDLE,
        ),
    ] = None,
    n_tokens: Annotated[
        str | None, tasks.option(tasks.NEEDLE, "Lengths: 100,200,300.", NEEDLES["n_tokens"])
    ] = None,
    depths: Annotated[
        str | None, tasks.option(tasks.NEEDLE, "Depths: 0,0.5,1.", NEEDLES["depths"])
    ] = None,
    haystacks: Annotated[
        str | None, tasks.option(tasks.NEEDLE, "Shipped names or paths.", NEEDLES["haystacks"])
    ] = None,
    needles: Annotated[
        str | None, tasks.option(tasks.NEEDLE, "Needle formats.", NEEDLES["needles"])
    ] = None,
    first_seed: Annotated[
        int | None,
        tasks.option(tasks.NEEDLE, "Of the first prompt; each has its own.", NEEDLES["first_seed"]),
    ] = None,
    source: tasks.Source = None,
    reader: tasks.Reader = None,
    questions: Annotated[
        str | None, tasks.option(tasks.QUESTIONS, tasks.WHICH, QUESTIONS["questions"])
    ] = None,
    n_paragraphs: tasks.Paragraphs = None,
    orders: tasks.Orders = None,
    seeds: Annotated[
        str | None,
        tasks.option(
            tasks.QUESTIONS,
            "Draw distractors and the order of paragraphs: 0,1 or 0-4.",
            QUESTIONS["seeds"],
        ),
    ] = None,
    max_tokens: tasks.MaxTokens = None,
    hidden_at: Annotated[
        str, typer.Option(help="Hook names of the hidden states: a,b.")
    ] = "ln_final.hook_out",
    hidden_dtype: Annotated[
        Stored, typer.Option(help="What hidden states are stored in.")
    ] = Stored.float32,
    max_new_tokens: options.MaxNewTokens = 64,
    batch_size: Annotated[int, typer.Option(help="Prompts that run together.")] = 8,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    allow_other_versions: Annotated[
        bool, typer.Option("--allow-other-versions", help="Keep traces of other versions.")
    ] = False,
) -> None:
    """Collect a corpus of prompts, or go on with it where it stopped.

    Questions are collected in every combination of --n-paragraphs, --orders and --seeds.
    """
    from retrieval_lens.corpora import collect as run
    from retrieval_lens.models import load_model
    from retrieval_lens.tasks import Questions

    wanted = tasks.group(
        NEEDLES,
        n=n,
        n_tokens=n_tokens,
        depths=depths,
        haystacks=haystacks,
        needles=needles,
        first_seed=first_seed,
    )
    asked = tasks.group(
        QUESTIONS,
        source=source,
        reader=reader,
        questions=questions,
        n_paragraphs=n_paragraphs,
        orders=orders,
        seeds=seeds,
        max_tokens=max_tokens,
    )
    tasks.refuse_other(task, wanted, asked)
    if task is tasks.Task.questions:
        drawn = options.integers("--seeds", asked.values["seeds"]) or ()
        load = tasks.questions(**{**asked.values, "seeds": drawn})
    else:
        load = _needles(**wanted.values)
    bridge = load_model(model, device=device, dtype=dtype)
    examples = load(bridge.tokenizer)
    if isinstance(examples, Questions):
        typer.echo(examples.summary())
    corpus = run(
        bridge,
        examples,
        out,
        hidden_at=options.names(hidden_at) or (),
        hidden_dtype=hidden_dtype.value,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        allow_other_versions=allow_other_versions,
    )
    typer.echo(f"{len(corpus)} traces in {corpus.path.resolve()}")


def _needles(
    n: int, n_tokens: str, depths: str, haystacks: str, needles: str, first_seed: int
) -> Callable[[Any], Any]:
    """From a tokenizer to the needle prompts."""
    from retrieval_lens.tasks import needle_examples

    places: dict[str, Any] = {
        "n_tokens": options.integers("--n-tokens", n_tokens),
        "depths": options.numbers("--depths", depths),
        "haystacks": options.names(haystacks),
        "needles": options.names(needles),
    }
    return partial(needle_examples, n=n, first_seed=first_seed, **places)
