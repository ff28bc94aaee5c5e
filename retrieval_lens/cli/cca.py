"""`retrieval-lens cca`: canonical correlations of hidden states with scores to come (Fig. 4)."""

from pathlib import Path
from typing import Annotated, Any

import typer

from retrieval_lens.cli import options
from retrieval_lens.errors import InputError

STATISTICS = ("top1", "mean10", "mean50")
SHOWN = ("in_sample", "held_out", "null_held_out", "baselines", "hidden_and_baselines", "gain")


def cca(
    corpus: Annotated[Path, typer.Argument(help="A folder made by `collect`.")],
    score: Annotated[str, typer.Option(help="copy_paste or reasoning.")] = "copy_paste",
    offsets: Annotated[str, typer.Option(help="Steps ahead: 0-10.")] = "0-10",
    hidden_at: Annotated[
        str | None, typer.Option(help="Hook name; by default the first collected.")
    ] = None,
    n_nulls: Annotated[int, typer.Option(help="Permutations of the null.")] = 20,
    seed: Annotated[int, typer.Option(help="Of split, permutations and resamples.")] = 0,
    statistic: Annotated[
        str, typer.Option(help="What is printed and drawn: top1, mean10 or mean50.")
    ] = "top1",
    out: Annotated[
        Path | None, typer.Option(help="Write the table here: .csv or .parquet.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw it here: .html, .png, .svg or .pdf.")
    ] = None,
) -> None:
    """How well the hidden state tells the scores of later steps, beside null and baselines."""
    options.writable("--out", out, options.TABLES)
    options.writable("--plot", plot, options.FIGURES)
    if statistic not in STATISTICS:
        raise InputError(f"no statistic {statistic!r}; known: {', '.join(STATISTICS)}")
    from retrieval_lens.analysis import offset_cca
    from retrieval_lens.corpora import Corpus

    steps = options.integers("--offsets", offsets)
    found = offset_cca(
        Corpus.open(corpus), score, offsets=steps, hidden_at=hidden_at, n_nulls=n_nulls, seed=seed
    )
    if out is not None:
        options.write_table(found, out)
    rows = found[(found["statistic"] == statistic) & (found["steps"] == "all")]
    if plot is not None:
        _draw(rows, statistic, plot)
    _print(rows, statistic)


def _draw(rows: Any, statistic: str, path: Path) -> None:
    from retrieval_lens import viz

    title = f"Canonical correlation ({statistic}) of hidden state and scores, by offset"
    shown = rows[rows["setting"].isin(SHOWN)]
    figure = viz.curves(
        shown.rename(columns={"value": "canonical correlation"}),
        x="offset",
        y="canonical correlation",
        series="setting",
        low="low",
        high="high",
        title=title,
    )
    options.write_figure(figure, path, title)


def _print(rows: Any, statistic: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{statistic}, 95 % intervals over held-out examples", title_justify="left")
    table.add_column("offset", justify="right")
    shown = [name for name in SHOWN if (rows["setting"] == name).any()]
    for name in shown:
        table.add_column(name, justify="right")
    for offset, part in rows.groupby("offset"):
        by_setting = part.set_index("setting")
        table.add_row(str(offset), *(options.with_interval(by_setting.loc[name]) for name in shown))
    Console().print(table)
