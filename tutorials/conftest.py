"""Each tutorial is a test: its cells in a clean kernel, and then the solutions of its exercises."""

from pathlib import Path
from typing import Any

import pytest
from runner import run


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A notebook here is a file with one test."""
    return Tutorial.from_parent(parent, path=file_path) if file_path.suffix == ".ipynb" else None


class Tutorial(pytest.File):
    """A notebook."""

    def collect(self) -> Any:
        """Its one test."""
        one = Run.from_parent(self, name="cells and solutions")
        one.add_marker("slow")
        yield one


class Run(pytest.Item):
    """Runs a notebook; nothing is written."""

    def runtest(self) -> None:
        """Fail with the cell and its traceback where one raises."""
        run(self.path, with_solutions=True)
