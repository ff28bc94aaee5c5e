"""The runner of the tutorials, and what every tutorial has."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests import by_path

TUTORIALS = sorted((by_path.ROOT / "tutorials").glob("*.ipynb"))
FOLD = "<details><summary>Solution</summary>\n\n```py\n{}\n```\n\nSo it is.\n\n</details>"


@pytest.fixture(scope="module")
def runner():
    return by_path.load("tutorials/runner.py")


@pytest.fixture
def notebook(tmp_path):
    """Write a notebook of one cell, and of a fold with this code."""

    def write(fold):
        cells = [new_code_cell("value = 6 * 7\nvalue"), new_markdown_cell(fold)]
        nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
        return tmp_path / "a.ipynb"

    return write


def test_cells_then_solutions(runner, notebook):
    path = notebook(FOLD.format("print(value + 1)"))
    assert len(runner.run(path).cells) == 2
    *_, solution = runner.run(path, with_solutions=True).cells
    assert solution.outputs[0].text == "43\n"
    assert len(nbformat.read(path, 4).cells) == 2


def test_a_solution_that_raises_fails(runner, notebook):
    path = notebook(FOLD.format("value / 0"))
    runner.run(path)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        runner.run(path, with_solutions=True)


@pytest.mark.parametrize("fence", ["```", "```python", " ```py"])
def test_a_solution_that_would_not_be_run_is_noticed(runner, notebook, fence):
    path = notebook(FOLD.format("1").replace("```py", fence))
    with pytest.raises(ValueError, match="1 folds, but 0"):
        runner.run(path, with_solutions=True)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_asks_shows_and_ends_with_exercises(runner, path):
    notebook = nbformat.read(path, 4)
    assert notebook.cells[0].source.split("\n\n")[1].endswith("?**"), "it opens with a question"
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", ())]
    assert any("image/png" in one.get("data", {}) for one in outputs), "a picture for GitHub"
    assert not any(one.output_type == "error" for one in outputs)
    assert "## Exercises" in notebook.cells[-1].source
    assert len(runner.solutions(notebook)) == 3


def test_there_are_seven():
    assert [path.stem[:2] for path in TUTORIALS] == [f"0{n}" for n in range(1, 8)]
