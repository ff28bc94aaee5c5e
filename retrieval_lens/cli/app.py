"""The command `retrieval-lens`: its sub-commands, and errors as one line.

Heavy packages are imported by the commands when they run, so that `--help` answers at once.
"""

import sys

import typer
from rich.console import Console
from rich.markup import escape

from retrieval_lens import __version__
from retrieval_lens.cli.demo import demo
from retrieval_lens.cli.trace import trace
from retrieval_lens.errors import RetrievalLensError

app = typer.Typer(
    help="Trace retrieval heads at every decode step. Add --debug to see where an error came from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(trace)
app.command()(demo)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Trace retrieval heads at every decode step. Add --debug to see where an error came from."""
    if version:
        Console().print(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error is one line on stderr and exit code 1, unless `--debug`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        app([argument for argument in given if argument != "--debug"])
    except (RetrievalLensError, OSError) as error:
        if debug:
            raise
        text = " ".join(str(error).split())
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(text)}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        raise SystemExit(130) from None
