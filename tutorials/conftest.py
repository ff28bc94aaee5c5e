"""Each tutorial is a test: its cells in a clean kernel, and then the solutions of its exercises."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

SOLUTION = re.compile(r"^```py\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A notebook here is a file with one test."""
    return Tutorial.from_parent(parent, path=file_path) if file_path.suffix == ".ipynb" else None


class Tutorial(pytest.File):
    """A notebook."""

    def collect(self) -> Any:
        """Its one test."""
        yield Run.from_parent(self, name="cells and solutions")


class Run(pytest.Item):
    """Runs a notebook; nothing is written."""

    def runtest(self) -> None:
        """Fail with the cell and its traceback where one raises."""
        notebook: Any = nbformat.read(self.path, as_version=4)
        notebook.cells += [new_code_cell(code) for code in solutions(notebook)]
        NotebookClient(notebook, resources={"metadata": {"path": self.path.parent}}).execute()


def solutions(notebook: Any) -> list[str]:
    """The code that is folded into the notebook's texts, in order."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [code for text in texts for code in SOLUTION.findall(text)]
