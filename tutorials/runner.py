"""Runs a tutorial from a clean kernel.

`python tutorials/runner.py NAME.ipynb …` stores the outputs that GitHub and the site show, figures
as PNG beside their data. Cells tagged `live` hold widgets that neither shows: theirs are left out,
and a picture stands below them.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

SOLUTION = re.compile(r"^```py\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run(path: Path, with_solutions: bool = False) -> Any:
    """The notebook with its outputs, and after it the solutions of its exercises."""
    notebook: Any = nbformat.read(path, as_version=4)
    if with_solutions:
        notebook.cells += [new_code_cell(code) for code in solutions(notebook)]
    where = {"metadata": {"path": str(path.parent)}}
    return NotebookClient(notebook, resources=where, record_timing=False).execute()


def solutions(notebook: Any) -> list[str]:
    """The code that is folded into the notebook's texts, in order.

    Raises:
        ValueError: A fold without a block of code, or with several.
    """
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = SOLUTION.findall(text)
    if len(found) != text.count("<details>"):
        raise ValueError(f"{text.count('<details>')} folds, but {len(found)} blocks ```py in them")
    return found


def main(paths: list[Path]) -> None:
    """Store the outputs of notebooks."""
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype+png"
    for path in paths:
        kept = nbformat.read(path, as_version=4).metadata
        notebook = run(path)
        notebook.metadata = kept
        for cell in notebook.cells:
            if "live" in cell.metadata.get("tags", ()):
                cell.outputs = []
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
