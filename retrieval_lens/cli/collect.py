"""`retrieval-lens collect`: trace many needle prompts into a corpus on disk."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from retrieval_lens.cli import options


class Stored(StrEnum):
    """What hidden states are stored in."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def collect(
    out: Annotated[Path, typer.Option(help="Folder of the corpus; made, or gone on with.")],
    model: options.Model = "smollm2-135m",
    n: Annotated[int, typer.Option("--n", help="How many prompts.")] = 320,
    n_tokens: Annotated[str, typer.Option(help="Lengths: 100,200,300.")] = "100,150,200,250,300",
    depths: Annotated[str, typer.Option(help="Depths: 0,0.5,1.")] = "0,0.25,0.5,0.75,1",
    haystacks: Annotated[
        str, typer.Option(help="Shipped names or paths.")
    ] = "letters,workshop,coast,essays",
    needles: Annotated[str, typer.Option(help="Needle formats.")] = "magic_word",
    first_seed: Annotated[int, typer.Option(help="Of the first prompt; each has its own.")] = 2000,
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
    """Collect a corpus of needle prompts, or go on with it where it stopped."""
    from retrieval_lens.corpora import collect as run
    from retrieval_lens.models import load_model
    from retrieval_lens.tasks import needle_examples

    lengths = options.integers("--n-tokens", n_tokens)
    places = {"n_tokens": lengths, "depths": options.numbers("--depths", depths)}
    places |= {"haystacks": options.names(haystacks), "needles": options.names(needles)}
    bridge = load_model(model, device=device, dtype=dtype)
    examples = needle_examples(bridge.tokenizer, n, **places, first_seed=first_seed)
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
