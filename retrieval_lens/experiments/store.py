"""The folder of a grid: what is to be run, what is done, and a lock.

```
manifest.json      the whole configuration, the versions, when it was started
cells/KEY.json     one finished cell each, with a checksum and what it was made from
results.parquet    one row a run, without times, written when every cell is done
.lock              held by the process at work; the system frees it when that process dies
```

1. A cell file is written beside its place, flushed and renamed: a kill leaves no half of one.
2. A file that is cut short, altered, of another grid, or made from other inputs does not count: it
   is moved aside as `KEY.json.damaged` (`.damaged1` the next time) and the cell is run again.
3. A folder belongs to one configuration and one set of versions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.grid import Grid, grid_from_json
from retrieval_lens.files import digest, load_json, save_json, write_atomically
from retrieval_lens.folders import agree, locked, require_own, set_aside

MANIFEST, CELLS, RESULTS = "manifest.json", "cells", "results.parquet"
_MANIFEST_KIND, _CELL_KIND = "grid_manifest", "grid_cell"
_SAME = ("name", "source", "revision", "weights_sha256", "weights", "architecture", "dtype")


class RunFolder:
    """Reads and writes the files of one grid.

    Args:
        path: The folder.
        grid: Its configuration.
    """

    def __init__(self, path: Path, grid: Grid):
        self.path: Path = path
        self.grid: Grid = grid
        self._grid = digest(grid.as_json())
        self._models: dict[str, dict[str, Any]] = {}

    def cell_path(self, cell: Cell) -> Path:
        """Where a cell's file is."""
        return self.path / CELLS / f"{cell.key}.json"

    def read(self, cell: Cell, inputs: str | None = None) -> Any:
        """The result of a finished cell.

        Args:
            cell: Which.
            inputs: Fingerprint of what it must have been made from; None takes any.

        Raises:
            FileNotFoundError: The cell is not done.
            FileFormatError: Its file is damaged, does not belong here, or is of other weights than
                the cells of its model read before.
        """
        path = self.cell_path(cell)
        found = load_json(path, _CELL_KIND)
        if found["grid"] != self._grid or found["cell"] != cell.as_json():
            raise FileFormatError(f"{path} belongs to another grid or another cell")
        if inputs is not None and found["inputs"] != inputs:
            raise FileFormatError(f"{path} was made from other static heads or counts")
        other = self._other_model(cell, found["result"])
        if other:
            raise FileFormatError(f"{path} is of {other}")
        return found["result"]

    def write(self, cell: Cell, inputs: str, result: Any) -> None:
        """Put a finished cell in its place.

        Raises:
            InputError: It was run on other weights than the cells that are there.
            OSError: It cannot be written (a full disk, say); what was there stays.
        """
        other = self._other_model(cell, result)
        if other:
            raise InputError(f"cell {cell.key} was run on {other}; give another folder")
        content = {"grid": self._grid, "cell": cell.as_json(), "inputs": inputs, "result": result}
        save_json(self.cell_path(cell), _CELL_KIND, content)

    def _other_model(self, cell: Cell, result: Any) -> str | None:
        """In what a result's model differs from that of its first cell that was seen."""
        found = {name: result["model"].get(name) for name in _SAME}
        known = self._models.setdefault(cell.model, found)
        different = [
            f"{name} {found[name]!r}, the folder's is {known[name]!r}"
            for name in _SAME
            if found[name] != known[name]
        ]
        return f"another model ({'; '.join(different)})" if different else None

    def problem(self, cell: Cell, inputs: str | None = None) -> str | None:
        """Why a cell does not count as done: "" where it was never run, None where it is done."""
        try:
            self.read(cell, inputs)
        except FileNotFoundError:
            return ""
        except FileFormatError as error:
            return str(error)
        return None

    def set_aside(self, cell: Cell) -> Path:
        """Move a file that does not count out of the way, beside those moved before."""
        return set_aside(self.cell_path(cell))

    def write_results(self, data: bytes) -> Path:
        """Put the results file in its place."""
        write_atomically(self.path / RESULTS, data)
        return self.path / RESULTS


def open_folder(path: str | Path) -> RunFolder:
    """The folder of an earlier run, to be read.

    Raises:
        InputError: No grid was run there.
        FileFormatError: The manifest is damaged.
    """
    path = Path(path)
    return RunFolder(path, grid_from_json(_manifest(path)["grid"]))


def _manifest(path: Path) -> Any:
    try:
        return load_json(path / MANIFEST, _MANIFEST_KIND)
    except FileNotFoundError:
        raise InputError(f"{path} holds no grid: there is no {MANIFEST} in it") from None


@contextmanager
def locked_folder(
    path: str | Path, grid: Grid, allow_other_versions: bool = False
) -> Iterator[RunFolder]:
    """The folder of this grid, made if missing, for this process alone.

    Args:
        path: The folder.
        grid: What is to be run there.
        allow_other_versions: Go on with cells that other versions of the packages made.

    Raises:
        InputError: Another process is at work there, the folder holds another configuration, files
            but no grid, or cells of other versions; or heads, a probe or a threshold were chosen on
            prompts of the grid.
        FileFormatError: The manifest is damaged.
    """
    path = Path(path)
    grid.require_ready()
    require_own(path, MANIFEST, CELLS)
    (path / CELLS).mkdir(parents=True, exist_ok=True)
    with locked(path):
        wanted = {"grid": grid.as_json(), "sources": grid.sources()}
        agree(path, MANIFEST, _MANIFEST_KIND, wanted, allow_other_versions)
        yield RunFolder(path, grid)
