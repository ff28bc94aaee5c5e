"""How far a grid is, seen from outside while it runs or after it has stopped."""

from dataclasses import dataclass
from pathlib import Path

from retrieval_lens.errors import FileFormatError
from retrieval_lens.experiments.cells import grid_cells
from retrieval_lens.experiments.store import RESULTS, open_folder
from retrieval_lens.folders import is_locked


@dataclass(frozen=True)
class GridStatus:
    """How far a grid is.

    Attributes:
        done: Finished cells of each stage.
        cells: All cells of each stage.
        damaged: Files that do not count, and why.
        running: Whether a process is at work in the folder.
        has_results: Whether the table of results is written.
        smaller_batches: Cells that ran in smaller batches because memory ran out.
    """

    done: dict[str, int]
    cells: dict[str, int]
    damaged: tuple[str, ...]
    running: bool
    has_results: bool
    smaller_batches: int

    @property
    def finished(self) -> bool:
        """Whether every cell is done."""
        return self.done == self.cells


def grid_status(folder: str | Path) -> GridStatus:
    """How far the grid in `folder` is; it may be running.

    Raises:
        InputError: No grid was run there.
        FileFormatError: The manifest is damaged.
    """
    opened = open_folder(folder)
    cells, done = grid_cells(opened.grid), dict.fromkeys(opened.grid.stages, 0)
    damaged, smaller = [], 0
    for stage in opened.grid.stages:
        for cell in cells[stage]:
            try:
                result = opened.read(cell)
            except FileNotFoundError:
                continue
            except FileFormatError as error:
                damaged.append(str(error))
                continue
            done[stage] += 1
            smaller += opened.grid.ran_smaller(cell, result)
    return GridStatus(
        done,
        {stage: len(found) for stage, found in cells.items()},
        tuple(damaged),
        is_locked(opened.path),
        (opened.path / RESULTS).exists(),
        smaller,
    )
