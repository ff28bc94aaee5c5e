"""`retrieval-lens report`: a results folder as one page."""

from pathlib import Path
from typing import Annotated

import typer

from retrieval_lens.cli import options


def report(
    folder: Annotated[
        Path, typer.Argument(help="What `grid run`, `rag evaluate` or `collect` wrote.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="page.html; report.html in the folder by default.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    cca: Annotated[
        bool, typer.Option("--cca", help="Add the canonical correlations of a corpus (minutes).")
    ] = False,
) -> None:
    """Write what was run and what came out as one page that reads offline."""
    options.writable("--out", out, (".html",))
    from retrieval_lens.files import write_atomically
    from retrieval_lens.report import report as document

    page = document(folder, title=title, cca=cca)
    path = out or folder / "report.html"
    write_atomically(path, page.encode("utf-8"))
    typer.echo(str(path.resolve()))
