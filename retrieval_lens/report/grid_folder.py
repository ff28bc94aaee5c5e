"""The folder of a grid, opened to be reported: its results, and what they say of themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval_lens.errors import FileFormatError
from retrieval_lens.experiments import Grid, GridStatus, grid_status, load_results
from retrieval_lens.experiments.reading import finished
from retrieval_lens.experiments.store import MANIFEST, RunFolder, open_folder
from retrieval_lens.files import load_json
from retrieval_lens.report.parts import counted, sent


@dataclass(frozen=True, eq=False)
class GridFolder:
    """What is known of a grid that was run, whole or in part.

    Attributes:
        path: The folder.
        grid: Its configuration.
        manifest: Versions, fingerprints of the sources, and when it was started.
        status: How much of it is done.
        frame: `load_results` of the finished cells.
        first: By model, the result of the first finished cell.
    """

    path: Path
    grid: Grid
    manifest: dict[str, Any]
    status: GridStatus
    frame: Any
    first: dict[str, dict[str, Any]]

    @property
    def valid(self) -> Any:
        """Rows of prompts that were run."""
        return self.frame[self.frame["valid"].astype(bool)]

    @property
    def models(self) -> list[str]:
        """Models that have a row."""
        return [one for one in self.grid.models if (self.valid["model"] == one).any()]

    @property
    def unit(self) -> str:
        """What intervals draw."""
        return "question" if "question_id" in self.frame else "prompt"

    def n_units(self, frame: Any = None) -> int:
        """Questions, or prompts, of all models together."""
        rows = self.frame if frame is None else frame
        names = self.grid.axes if "question_id" not in rows else ("source", "question")
        return len(rows.drop_duplicates(list(names)))

    def of(self, heading: str, model: str) -> str:
        """A heading, with the model where there are several."""
        return f"{heading}: {sent(model)}" if len(self.grid.models) > 1 else heading

    @property
    def lead(self) -> str:
        """One line: models, prompts, and whether it is finished."""
        done, cells = sum(self.status.done.values()), sum(self.status.cells.values())
        told = f"{', '.join(map(sent, self.grid.models))} · {counted(self.n_units(), self.unit)}"
        if self.status.finished:
            return told
        return f"{told} · not finished: {done} of {cells} cells are done"


def open_grid(path: Path) -> GridFolder:
    """Read a grid's folder; it may be unfinished.

    Raises:
        InputError: No grid was run there.
        FileFormatError: The manifest or a cell is damaged, or a cell is of another grid.
    """
    status = grid_status(path)
    if status.damaged:
        raise FileFormatError(
            f"cells in {path} that do not count: {len(status.damaged)}, the first: "
            f"{status.damaged[0]}; run the same grid in this folder again, which sets them aside "
            f"and runs them anew"
        )
    opened = open_folder(path)
    frame = load_results(path, partial=True)
    manifest = load_json(path / MANIFEST, "grid_manifest")
    first = {model: _first(opened, model) for model in opened.grid.models}
    return GridFolder(path, opened.grid, manifest, status, frame, first)


def _first(folder: RunFolder, model: str) -> dict[str, Any]:
    """The first finished cell's result, best of one whose prompt is valid."""

    def every() -> Iterator[dict[str, Any]]:
        for stage in folder.grid.stages:
            yield from (result for _, result in finished(folder, stage, True, model))

    found: dict[str, Any] = {}
    for result in every():
        found = found or result
        if "invalid" not in result:
            return result
    return found
