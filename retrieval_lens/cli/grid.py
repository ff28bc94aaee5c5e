"""`retrieval-lens grid run|status|plot`: grids of runs that survive, and their pictures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval_lens.cli.options import (
    FIGURES,
    integers,
    names,
    numbers,
    read_config,
    writable,
)
from retrieval_lens.errors import InputError

grid_app: typer.Typer = typer.Typer(
    help="Run a grid of prompts under ablation, or of answers; look how far it is; draw it.",
    no_args_is_help=True,
)

Texts = str | None
Integers = Annotated[Texts, typer.Option(help="Whole numbers: 0,1,5 or 0-4.")]
AXIS_NAMES = {"n_tokens": "length", "n_paragraphs": "paragraphs", "max_tokens": "length"}
AXIS_NAMES |= {"order": "their order", "depth": "depth"}
PLOTTED = ("exact", "answer_chars", "em", "f1", "effect_retrieval", "effect_other")
PLOTTED += ("evidence_recall", "revealed_share")


@grid_app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of the results; made, or gone on with.")],
    config: Annotated[
        Path | None, typer.Option(help="A JSON file with fields of a grid; options win.")
    ] = None,
    models: Annotated[
        Texts, typer.Option(help="Named checkpoints, Hub ids, folders: smollm2-135m,my_folder.")
    ] = None,
    device: Annotated[Texts, typer.Option(help="cpu, cuda, cuda:1 …")] = None,
    dtype: Annotated[Texts, typer.Option(help="float32, bfloat16 or float16.")] = None,
    n_tokens: Annotated[Texts, typer.Option(help="Lengths: 100,200,400.")] = None,
    depths: Annotated[Texts, typer.Option(help="Depths: 0,0.5,1.")] = None,
    seeds: Integers = None,
    haystacks: Annotated[Texts, typer.Option(help="Shipped names or paths: coast,essays.")] = None,
    needles: Annotated[Texts, typer.Option(help="Needle formats: magic_word,boat_name.")] = None,
    conditions: Annotated[Texts, typer.Option(help="none,dynamic,static_by_count …")] = None,
    k: Integers = None,
    random_draws: Annotated[int | None, typer.Option(help="Draws of random heads.")] = None,
    measures: Annotated[Texts, typer.Option(help="generate,step_effect")] = None,
    mode: Annotated[Texts, typer.Option(help="zero, mean, uniform or knockout.")] = None,
    score: Annotated[Texts, typer.Option(help="copy_paste or reasoning.")] = None,
    detection_seeds: Integers = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="At most so many decode steps.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows at a time.")] = None,
    workers: Annotated[int, typer.Option(help="Copies of the model at a time.")] = 1,
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[Texts, typer.Option(help="Of the Ray cluster.")] = None,
    cpus_per_worker: Annotated[float, typer.Option(help="That a Ray worker asks for.")] = 1,
    gpus_per_worker: Annotated[float, typer.Option(help="That a Ray worker asks for.")] = 0,
    allow_other_versions: Annotated[
        bool, typer.Option("--allow-other-versions", help="Keep cells of other versions.")
    ] = False,
) -> None:
    """Run a grid, or go on with it where it stopped."""
    fields = {
        "models": names(models),
        "device": device,
        "dtype": dtype,
        "n_tokens": integers("--n-tokens", n_tokens),
        "depths": numbers("--depths", depths),
        "seeds": integers("--seeds", seeds),
        "haystacks": names(haystacks),
        "needles": names(needles),
        "conditions": names(conditions),
        "k": integers("--k", k),
        "random_draws": random_draws,
        "measures": names(measures),
        "mode": mode,
        "score": score,
        "detection_seeds": integers("--detection-seeds", detection_seeds),
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    from retrieval_lens.experiments import grid_from_json, run_grid

    grid = grid_from_json(read_config(config) | given)
    options: dict[str, Any] = {"address": address, "allow_other_versions": allow_other_versions}
    options |= {"cpus_per_worker": cpus_per_worker, "gpus_per_worker": gpus_per_worker}
    frame = run_grid(grid, out, executor, workers, **options)
    _print_means(frame)
    typer.echo(f"results: {(out / 'results.parquet').resolve()}")


@grid_app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="Where the grid is run.")],
) -> None:
    """Say how far a grid is; it may be running."""
    from rich.console import Console
    from rich.table import Table

    from retrieval_lens.experiments import grid_status

    found = grid_status(folder)
    table = Table()
    for column in ("stage", "done", "cells"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, n_cells in found.cells.items():
        table.add_row(stage, str(found.done[stage]), str(n_cells))
    Console().print(table)
    for problem in found.damaged:
        typer.echo(f"to be run again: {problem}")
    if found.smaller_batches:
        typer.echo(f"{found.smaller_batches} cells ran in smaller batches: memory ran out")
    if found.running:
        typer.echo("running")
    else:
        typer.echo("finished" if found.finished else "stopped; the same `grid run` goes on")


@grid_app.command()
def plot(
    folder: Annotated[Path, typer.Argument(help="Where the grid was run.")],
    out: Annotated[Path, typer.Option(help="page.html, or a picture: .png, .svg, .pdf.")],
    measure: Annotated[
        str | None, typer.Option(help="What a picture shows: a column; exact or f1 by default.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Draw the finished cells of an unfinished grid.")
    ] = False,
) -> None:
    """Draw a grid: heat maps of length by depth, and curves over k, as a page or one picture."""
    writable("--out", out, FIGURES)
    from retrieval_lens import viz
    from retrieval_lens.experiments import load_results

    frame = load_results(folder, partial)
    measure = measure or ("exact" if "exact" in frame else "f1")
    if out.suffix == ".html":
        out.write_text(_page(frame), "utf-8")
    else:
        frame, axes = _axes(frame)
        viz.grid(frame, measure, **axes).write_image(out)
    typer.echo(str(out.resolve()))


def _page(frame: Any) -> str:
    from retrieval_lens import viz

    frame, axes = _axes(frame)
    names = f"{AXIS_NAMES[axes['x']]} and {AXIS_NAMES[axes['y']]}"
    parts: list[tuple[str, str | None, Any]] = [
        (f"{measure} by {names}", None, viz.grid(frame, measure, **axes))
        for measure in PLOTTED
        if measure in frame and frame[measure].notna().any()
    ]
    with_k = frame[frame["k"].notna()]
    first = "exact" if "exact" in frame else "f1"
    for pair in ((first, "compensated_overlap"), ("effect_retrieval", "effect_other")):
        measures = [one for one in pair if one in with_k and with_k[one].notna().any()]
        if measures:
            title = f"{' and '.join(measures)} against k"
            parts.append((title, None, viz.curves(with_k, y=measures)))
    models = ", ".join(frame["model"].unique())
    n_prompts = frame["prompt"].nunique()
    return viz.page("Grid of ablations", parts, subtitle=f"{models}, {n_prompts} prompts")


def _axes(frame: Any) -> tuple[Any, dict[str, Any]]:
    """The table, and the two axes of a picture: those of needle prompts, or of questions.

    Questions in one order differ in the depth of their facts, which is rounded to quarters.
    """
    if "order" not in frame:
        return frame, {"x": "n_tokens", "y": "depth"}
    several = [x for x in ("max_tokens", "n_paragraphs") if frame[x].nunique() > 1]
    if len(several) > 1:
        raise InputError(
            "this grid has several max_tokens and several n_paragraphs; draw a part of its table "
            "with viz.grid"
        )
    x = several[0] if several else "n_paragraphs"
    if frame["order"].nunique() > 1:
        return frame, {"x": x, "y": "order", "opacity": "valid"}
    quarters = (frame["depth"].astype(float) * 4).round() / 4
    return frame.assign(depth=quarters), {"x": x, "y": "depth", "opacity": "examples"}


def _print_means(frame: Any) -> None:
    """One line a condition: means over its runs."""
    from rich.console import Console
    from rich.table import Table

    shown = [name for name in PLOTTED if name in frame and frame[name].notna().any()]
    table = Table(title="Mean over all runs", title_justify="left")
    by = [*(["model"] if frame["model"].nunique() > 1 else []), "condition", "k"]
    for column in (*by, *shown, "runs"):
        table.add_column(column, justify="left" if column in ("model", "condition") else "right")
    for place, part in frame.groupby(by, sort=False, dropna=False):
        *names, k = place
        means = [f"{part[one].mean():.3f}" for one in shown]
        has_k = bool(part["k"].notna().all())
        table.add_row(
            *map(str, names), str(k) if has_k else "", *means, str(int(part["valid"].sum()))
        )
    Console().print(table)
