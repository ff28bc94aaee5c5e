"""`retrieval-lens rag calibrate|answer|evaluate`: Dynamic RAG on multi-hop questions."""

from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval_lens.cli import options, tasks
from retrieval_lens.cli.rag_tables import print_answer, print_comparison

rag_app: typer.Typer = typer.Typer(
    help="Answer questions from hidden context that heads reveal, and compare strategies.",
    no_args_is_help=True,
)

Source = Annotated[str, typer.Option(help="own (the set that ships), or a file.")]
Reader = Annotated[
    str, typer.Option(help="Format of the file: hotpotqa, 2wikimultihopqa or musique.")
]
Questions = Annotated[str, typer.Option(help=tasks.WHICH)]
Paragraphs = Annotated[
    int, typer.Option(help="Paragraphs of the context, the gold ones among them.")
]
Order = Annotated[
    str, typer.Option(help="given, shuffled, facts_first, facts_middle or facts_last.")
]
Probe = Annotated[
    Path | None,
    typer.Option(help="A regressor of `probe train`, for dynamic, bm25, random_windows."),
]
Static = Annotated[Path | None, typer.Option(help="A head set of `detect --out`, for static.")]
Threshold = Annotated[
    float | None, typer.Option(help="Of RIND, see `rag calibrate`; 1 if not given.")
]
Calibration = Annotated[
    Path | None, typer.Option(help="What `rag calibrate --out` wrote; its questions are refused.")
]
Seed = Annotated[int, typer.Option(help="Of the layout and of strategies that draw.")]
AnswerTokens = Annotated[
    int | None, typer.Option(help="At most so many tokens of an answer; 256 if not given.")
]
CALIBRATION = "rag_calibration"


@rag_app.command()
def calibrate(
    model: options.Model = "smollm2-135m",
    source: Source = "own",
    reader: Reader = "hotpotqa",
    questions: Questions = "1-59:2",
    n_paragraphs: Paragraphs = 10,
    order: Order = "given",
    share: Annotated[float, typer.Option(help="Of drafts that are to have a hit.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Write it here (JSON).")] = None,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Choose the threshold at which a share of the drafts without context has a hit."""
    options.writable("--out", out, (".json",))
    from retrieval_lens.files import save_json
    from retrieval_lens.models import load_model
    from retrieval_lens.rag import calibrate_threshold

    grid = _grid(
        source=source,
        reader=reader,
        questions=options.integers("--questions", questions),
        n_paragraphs=n_paragraphs,
        orders=order,
        strategies="no_context",
    )
    bridge = load_model(model, device=device, dtype=dtype)
    examples = [grid.example(bridge.tokenizer, place) for place in grid.places_of(grid.questions)]
    found = calibrate_threshold(bridge, examples, share)
    typer.echo(
        f"threshold {found.rind.threshold:.4f}: {found.realised:.0%} of {len(found.largest)} "
        f"drafts have a hit"
    )
    if found.rind.threshold == 0:
        typer.echo(
            "too many drafts have no content word with a score above 0 (such as 'No.'), so every "
            "other draft fires: take other questions, or a smaller --share"
        )
    if out is not None:
        save_json(out, CALIBRATION, found.as_json())
        typer.echo(f"written to {out.resolve()}")


@rag_app.command()
def answer(
    model: options.Model = "smollm2-135m",
    strategy: Annotated[
        str, typer.Option(help="dynamic, static, oracle_dynamic, bm25, no_context …")
    ] = "oracle_dynamic",
    k: Annotated[int, typer.Option("--k", help="How many heads.")] = 5,
    source: Source = "own",
    reader: Reader = "hotpotqa",
    question: Annotated[int, typer.Option(help="Which, counted from 0 in the file's order.")] = 0,
    n_paragraphs: Paragraphs = 10,
    order: Order = "given",
    probe: Probe = None,
    static: Static = None,
    threshold: Threshold = None,
    calibration: Calibration = None,
    answer_tokens: AnswerTokens = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write the answer with its trail (JSON).")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the trail: .html, .png, .svg or .pdf.")
    ] = None,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Answer one question and print what happened, round by round."""
    options.writable("--out", out, (".json",))
    options.writable("--plot", plot, options.FIGURES)
    from retrieval_lens.models import load_model
    from retrieval_lens.rag import answer as run

    given: dict[str, Any] = {
        "models": model,
        "source": source,
        "reader": reader,
        "questions": question,
        "n_paragraphs": n_paragraphs,
        "orders": order,
        "strategies": strategy,
        "k": k,
        "random_draws": 1,
        "probe": probe,
        "static": static,
        "threshold": threshold,
        "seed": seed,
    }
    grid = _grid(**_with_settings(given, calibration, answer_tokens))
    grid.require_ready()
    bridge = load_model(model, device=device, dtype=dtype)
    example = grid.example(bridge.tokenizer, grid.places_of(grid.questions)[0])
    (chosen,) = grid.made(model).values()
    found = run(bridge, example, chosen, grid.loop_settings(), seed=seed)
    if out is not None:
        found.save(out)
    if plot is not None:
        from retrieval_lens import viz

        options.write_figure(viz.trail(found), plot, example.question)
    print_answer(found, example)


@rag_app.command()
def evaluate(
    out: Annotated[Path, typer.Option(help="Folder of the results; made, or gone on with.")],
    config: Annotated[
        Path | None, typer.Option(help="A JSON file with fields of a RagGrid; options win.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A checkpoint, a Hub id, or a folder.")] = None,
    strategies: Annotated[
        str | None, typer.Option(help="dynamic,static,oracle_dynamic,bm25 …")
    ] = None,
    k: Annotated[str | None, typer.Option("--k", help="Numbers of heads: 5,10,20.")] = None,
    source: Annotated[str | None, typer.Option(help="own, or a file.")] = None,
    questions: Annotated[str | None, typer.Option(help=tasks.WHICH)] = None,
    n_paragraphs: Annotated[str | None, typer.Option(help="4,10")] = None,
    probe: Probe = None,
    static: Static = None,
    threshold: Threshold = None,
    calibration: Calibration = None,
    random_draws: Annotated[int | None, typer.Option(help="Of strategies that draw.")] = None,
    answer_tokens: AnswerTokens = None,
    baseline: Annotated[
        str | None, typer.Option(help="What others are compared to: static, or 'dynamic k=10'.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Copies of the model at a time.")] = 1,
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    allow_other_versions: Annotated[
        bool, typer.Option("--allow-other-versions", help="Keep cells of other versions.")
    ] = False,
) -> None:
    """Answer a set of questions with several strategies, or go on with it, and compare them."""
    given: dict[str, Any] = {
        "models": model,
        "strategies": options.names(strategies),
        "k": options.integers("--k", k),
        "source": source,
        "questions": options.integers("--questions", questions),
        "n_paragraphs": options.integers("--n-paragraphs", n_paragraphs),
        "probe": probe,
        "static": static,
        "threshold": threshold,
        "random_draws": random_draws,
    }
    from retrieval_lens.experiments import run_grid

    fields = options.read_config(config) | {n: v for n, v in given.items() if v is not None}
    grid = _grid(**_with_settings(fields, calibration, answer_tokens))
    run_options: dict[str, Any] = {"allow_other_versions": allow_other_versions}
    frame = run_grid(grid, out, executor, workers, **run_options)
    print_comparison(frame, baseline)
    typer.echo(f"results: {(out / 'results.parquet').resolve()}")


def _grid(**given: Any) -> Any:
    """A RagGrid; paths as texts, and what was not given left to its defaults."""
    from retrieval_lens.experiments import RagGrid

    known = {name: value for name, value in given.items() if value is not None}
    paths = {name: str(value) for name, value in known.items() if isinstance(value, Path)}
    return RagGrid.from_json(known | paths)


def _with_settings(
    fields: dict[str, Any], calibration: Path | None, answer_tokens: int | None
) -> dict[str, Any]:
    """With the threshold of a calibration, whose questions will be refused, and the length."""
    settings = dict(fields.get("settings") or {})
    if answer_tokens is not None:
        settings["max_tokens"] = answer_tokens
    if calibration is None:
        return {**fields, "settings": settings or None}
    if fields.get("threshold") is not None:
        raise tasks.WrongOption("--threshold cannot go with --calibration, which has its own")
    from retrieval_lens.files import load_json

    found = load_json(calibration, CALIBRATION)
    settings |= {"rind": found["rind"], "calibrated_on": found["example_ids"]}
    return {**fields, "settings": settings}
