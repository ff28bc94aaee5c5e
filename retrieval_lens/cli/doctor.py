"""`retrieval-lens doctor`: what is installed, on which machine, and what would stop a trace.

1. Each section looks at one thing and gives findings; a finding with a problem says what to do.
2. Nothing leaves the machine without `--online`, and no token or address is ever shown.
3. The exit code is 1 where a problem stops a trace of the embedded model, else 0.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from retrieval_lens.cli import doctor_installed as installed
from retrieval_lens.cli import doctor_machine as machine
from retrieval_lens.cli.doctor_finding import Finding
from retrieval_lens.cli.trace import Format


def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Ask the package index and the Hub for an answer.")
    ] = False,
    format: Annotated[Format, typer.Option(help="What is printed.")] = Format.table,
) -> None:
    """Print versions, device, cache and model access, and what is wrong."""
    imports = list(installed.imports())
    findings = [*installed.versions(), *imports]
    if not any(one.stops for one in imports):
        findings += [*machine.device(), *machine.models(online), *installed.figures()]
    findings += installed.extras()
    stopped = any(one.stops for one in findings)
    if format is Format.json:
        content = {"ok": not stopped, "findings": [asdict(one) for one in findings]}
        typer.echo(json.dumps(content, indent=2))
    else:
        _print(findings)
    raise typer.Exit(int(stopped))


def _print(findings: Sequence[Finding]) -> None:
    """A table, then one line for every problem, those that stop a trace first."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table, section = Table(box=None, show_header=False, pad_edge=False), ""
    for _ in range(4):
        table.add_column(overflow="fold")
    for one in findings:
        shown = "" if one.section == section else f"[bold]{one.section}[/]"
        table.add_row(shown, one.name, escape(one.found), _state(one))
        section = one.section
    console = Console(highlight=False)
    console.print(table)
    console.print()
    problems = [one for one in findings if one.problem]
    for one in sorted(problems, key=lambda one: not one.stops):
        console.print(f"{_state(one)}: {escape(one.problem)}", soft_wrap=True)
    stopped = any(one.stops for one in problems)
    console.print(
        "A trace cannot run as it is." if stopped else "Nothing found that stops a trace."
    )


def _state(one: Finding) -> str:
    if not one.problem:
        return ""
    return "[bold red]wrong[/]" if one.stops else "[yellow]note[/]"
