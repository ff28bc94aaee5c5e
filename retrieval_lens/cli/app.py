"""The command `retrieval-lens`: its sub-commands, and errors as one line.

Heavy packages are imported by the commands when they run, so that `--help` answers at once.
"""

import sys

import typer
from rich.console import Console
from rich.markup import escape

from retrieval_lens.cli.ablate import ablate
from retrieval_lens.cli.cca import cca
from retrieval_lens.cli.collect import collect
from retrieval_lens.cli.demo import demo
from retrieval_lens.cli.detect import detect
from retrieval_lens.cli.doctor import doctor
from retrieval_lens.cli.grid import grid_app
from retrieval_lens.cli.probe import probe_app
from retrieval_lens.cli.rag import rag_app
from retrieval_lens.cli.report import report
from retrieval_lens.cli.trace import trace
from retrieval_lens.errors import RetrievalLensError

INTERRUPTED = 130  # what typer makes of Ctrl-C

app: typer.Typer = typer.Typer(
    help="Trace retrieval heads at every decode step. Add --debug to see where an error came from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(trace)
app.command()(detect)
app.command()(ablate)
app.add_typer(grid_app, name="grid")
app.command()(collect)
app.command()(cca)
app.add_typer(probe_app, name="probe")
app.add_typer(rag_app, name="rag")
app.command()(report)
app.command()(demo)
app.command()(doctor)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Trace retrieval heads at every decode step. Add --debug to see where an error came from."""
    if version:
        from importlib.metadata import version as installed

        Console().print(installed("retrieval-lens"))
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error is one line on stderr, unless `--debug`.

    Exit codes: 0, 1 for an error, 2 for wrong options, 130 when interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    command = typer.main.get_command(app)
    try:
        code = command.main(
            [argument for argument in given if argument != "--debug"],
            prog_name="retrieval-lens",
            standalone_mode=False,
        )
    except Exception as error:
        if debug:
            raise
        _say(_one_line(error))
        raise SystemExit(getattr(error, "exit_code", 1)) from None
    if code == INTERRUPTED:
        _say("interrupted")
    raise SystemExit(code if isinstance(code, int) else 0)


def _one_line(error: Exception) -> str:
    """What went wrong; an error that nobody foresaw names its kind and how to see more."""
    text = getattr(error, "format_message", lambda: str(error))()
    text = " ".join(str(text).split())
    if isinstance(error, RetrievalLensError | OSError) or hasattr(error, "format_message"):
        return text
    return f"{type(error).__name__}: {text} (add --debug to see where it came from)"


def _say(text: str) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(text)}")
