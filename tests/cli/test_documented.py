"""Every command that the README and the documentation show is one that there is."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from retrieval_lens.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of a code block, continued ones joined."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```.*?\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            first = dict(re.findall(r"for (\w+) in (\S+)", block))
            for line in block.replace("\\\n", " ").splitlines():
                text = line.strip()
                for name, value in first.items():
                    text = text.replace(f"${name}", value.rstrip(";"))
                if text.startswith("retrieval-lens "):
                    found.append((page.name, text))
    return found


def test_there_are_some():
    assert len(commands()) > 40


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_of_the_docs(page, line):
    given = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    context = command.make_context("retrieval-lens", given[:0], resilient_parsing=True)
    while hasattr(command, "resolve_command"):
        name, command, given = command.resolve_command(context, given)
        assert command is not None, line
    command.make_context(name, given)
