"""`retrieval-lens probe train|evaluate`: predict a step's heads from the hidden state."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval_lens.cli import options

probe_app: typer.Typer = typer.Typer(
    help="Train a probe from hidden states to retrieval heads, and judge it.",
    no_args_is_help=True,
)
Report = Annotated[Path | None, typer.Option(help="Write all metrics here: .csv or .parquet.")]


class Kind(StrEnum):
    """What is predicted."""

    classifier = "classifier"
    regressor = "regressor"


class Split(StrEnum):
    """What training and test must not share."""

    example = "example"
    step = "step"


@probe_app.command()
def train(
    corpus: Annotated[Path, typer.Argument(help="A folder made by `collect`.")],
    out: Annotated[Path, typer.Option(help="The probe (safetensors).")],
    kind: Annotated[Kind, typer.Option(help="Which heads are active, or their scores.")] = (
        Kind.classifier
    ),
    score: Annotated[str, typer.Option(help="copy_paste or reasoning.")] = "copy_paste",
    offset: Annotated[int, typer.Option(help="Steps ahead.")] = 0,
    hidden_at: Annotated[
        str | None, typer.Option(help="Hook name; by default the first collected.")
    ] = None,
    split: Annotated[Split, typer.Option(help="By example, or by step as in the paper.")] = (
        Split.example
    ),
    widths: Annotated[
        str | None, typer.Option(help="Of the hidden layers: 512,256,256; by default by device.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training side.")] = 100,
    early_stopping: Annotated[
        int | None, typer.Option(help="Epochs without a better validation loss.")
    ] = None,
    permuted_labels: Annotated[
        bool, typer.Option("--permuted-labels", help="The control task.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of split, weights, order and dropout.")] = 0,
    device: options.Device = None,
    report: Report = None,
) -> None:
    """Train a probe; a killed run goes on where it stopped."""
    options.writable("--out", out, (".safetensors",))
    options.writable("--report", report, options.TABLES)
    from retrieval_lens.analysis import train_probe
    from retrieval_lens.corpora import Corpus

    checkpoint = out.with_name(out.name + ".checkpoint")
    made = train_probe(
        Corpus.open(corpus),
        kind.value,
        score,
        offset=offset,
        hidden_at=hidden_at,
        split=split.value,
        widths=options.integers("--widths", widths),
        epochs=epochs,
        early_stopping=early_stopping,
        permuted_labels=permuted_labels,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        keep_checkpoint=True,
    )
    made.save(out)
    checkpoint.unlink(missing_ok=True)
    _show(made.report, report)
    typer.echo(f"probe written to {out.resolve()}")


@probe_app.command()
def evaluate(
    probe: Annotated[Path, typer.Argument(help="A probe made by `probe train`.")],
    corpus: Annotated[Path, typer.Argument(help="A folder made by `collect`.")],
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Accept examples that it was trained on.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    report: Report = None,
) -> None:
    """Judge a probe on a corpus that it has not seen."""
    options.writable("--report", report, options.TABLES)
    from retrieval_lens.analysis import Probe, evaluate_probe
    from retrieval_lens.corpora import Corpus

    found = evaluate_probe(
        Probe.load(probe), Corpus.open(corpus), allow_overlap=allow_overlap, seed=seed
    )
    _show(found, report)


def _show(found: Any, report: Path | None) -> None:
    """Every predictor beside the probe, one metric a column."""
    from rich.console import Console
    from rich.table import Table

    if report is not None:
        options.write_table(found.metrics, report)
    metrics = found.metrics
    names = list(dict.fromkeys(metrics["metric"]))
    title = f"{len(found.example_ids)} examples, {found.n_pairs} steps; 95 % intervals"
    table = Table(title=title, title_justify="left")
    for column in ("predictor", "steps", *names):
        is_name = column in ("predictor", "steps")
        table.add_column(column, justify="left" if is_name else "right", no_wrap=is_name)
    for place, part in metrics.groupby(["predictor", "steps"], sort=False):
        by_metric = part.set_index("metric")
        cells = [
            options.with_interval(by_metric.loc[name]) if name in by_metric.index else ""
            for name in names
        ]
        table.add_row(*map(str, place), *cells)
    Console(width=max(Console().width, 150)).print(table)
