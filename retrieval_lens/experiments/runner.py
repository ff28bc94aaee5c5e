"""Run a grid: what is not done yet, stage by stage, each finished cell a file.

1. Take the folder for this process alone; refuse another configuration.
2. For each model and stage: find the cells that are not done, or whose file does not count; give
   them to the workers with what they need from earlier stages; write every result as it comes.
3. When all cells are done, write one table of all runs.

Killed at any moment, the same call goes on where it stopped and ends with the same table.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.cells import grid_cells
from retrieval_lens.experiments.executors import (
    Executor,
    LocalExecutor,
    MakeWorker,
    ProcessExecutor,
)
from retrieval_lens.experiments.grid import Grid
from retrieval_lens.experiments.inputs import fingerprint
from retrieval_lens.experiments.results import (
    invalid_prompts,
    repeated_prompts,
    results_parquet,
)
from retrieval_lens.experiments.store import RunFolder, locked_folder
from retrieval_lens.models import model_info
from retrieval_lens.models.stages import note
from retrieval_lens.progress import Advance, progress_bar

if TYPE_CHECKING:
    from pandas import DataFrame

EXECUTORS = ("local", "ray")


def run_grid(
    grid: Grid,
    out: str | Path,
    executor: str = "local",
    workers: SupportsIndex = 1,
    *,
    address: str | None = None,
    cpus_per_worker: float | int = 1,
    gpus_per_worker: float | int = 0,
    model: Any = None,
    allow_other_versions: bool = False,
    progress: bool = True,
) -> "DataFrame":
    """Run a grid, or go on with it, and return its results.

    Args:
        grid: What to run.
        out: Folder of the results; a folder belongs to one grid.
        executor: `"local"`, on this machine, or `"ray"`, on a Ray cluster.
        workers: Copies of the model at a time; the grid's models come one after the other. With
            `"local"` one runs in this process, several in processes of one thread each (in a
            script, call this under `if __name__ == "__main__":`).
        address: Of the Ray cluster; None takes `RAY_ADDRESS`, or starts one on this machine.
        cpus_per_worker: That each Ray worker asks for.
        gpus_per_worker: That each Ray worker asks for; may be a fraction.
        model: A loaded bridge to use instead of loading the grid's one model, in this process
            alone.
        allow_other_versions: Go on with cells that other package versions made.
        progress: Show a progress bar, and say which damaged cells are run again.

    Returns:
        One row a run, as `load_results` has it.

    Raises:
        InputError: The folder is in use, or belongs to another configuration; or arguments that
            exclude each other.
        UnknownNameError: No such executor.
        GridError: A cell raised an error, or its workers died again and again. What is finished
            stays, and the same call goes on.
        OSError: A result cannot be written (a full disk, say).

    Examples:
        ```python
        from retrieval_lens.experiments import NeedleGrid, run_grid

        grid = NeedleGrid(
            n_tokens=40,
            depths=0.5,
            seeds=0,
            detection_seeds=9,
            conditions=("none", "dynamic"),
            max_new_tokens=4,
        )
        frame = run_grid(grid, "a_folder", model=model)
        frame[["condition", "exact", "effect_retrieval"]]
        ```
    """
    n_workers = workers.__index__()
    if executor not in EXECUTORS:
        raise UnknownNameError(f"no executor {executor!r}; known: {', '.join(EXECUTORS)}")
    if n_workers < 1:
        raise InputError(f"workers must be at least 1; got {n_workers}")
    if model is not None and (executor != "local" or n_workers > 1):
        raise InputError("model= stays in this process: it needs executor='local' and workers=1")
    if model is not None and (name := model_info(model)["name"],) != grid.models:
        raise InputError(f"model= is {name!r}, the grid's models are {list(grid.models)}")
    if executor != "ray" and address is not None:
        raise InputError("address= is for executor='ray'")
    options = {"address": address, "cpus": cpus_per_worker, "gpus": gpus_per_worker}

    def opened(name: str) -> Executor:
        return _executor(executor, partial(grid.open_worker, name, model), n_workers, options)

    return run_with(opened, grid, out, allow_other_versions, progress)


def run_with(
    open_executor: Callable[[str], Executor],
    grid: Grid,
    out: str | Path,
    allow_other_versions: bool = False,
    progress: bool = True,
) -> "DataFrame":
    """`run_grid` with any executor, opened for each model by name."""
    with locked_folder(out, grid, allow_other_versions) as folder:
        run_cells(folder, open_executor, progress)
        frame = grid.frame(folder)
        folder.write_results(results_parquet(frame.drop(columns=list(grid.timings))))
    for problem in (invalid_prompts(frame), repeated_prompts(frame)):
        if problem:
            note(problem, progress)
    return frame


def run_cells(
    folder: RunFolder, open_executor: Callable[[str], Executor], progress: bool = True
) -> None:
    """Run every cell of the folder's grid that is not done."""
    cells = [cell for found in grid_cells(folder.grid).values() for cell in found]
    n_done = sum(folder.cell_path(cell).exists() for cell in cells)
    what = f"running cells ({n_done} of {len(cells)} were done)"
    counts = ", ".join(f"{name} {len(found)}" for name, found in grid_cells(folder.grid).items())
    note(f"{len(cells)} cells ({counts}), {n_done} done", progress)
    with progress_bar(what, len(cells) - n_done, progress) as advance:
        for model in folder.grid.models:
            with open_executor(model) as executor:
                for stage in folder.grid.stages:
                    _run_stage(folder, executor, model, stage, advance, progress)


def _run_stage(
    folder: RunFolder, executor: Executor, model: str, stage: str, advance: Advance, progress: bool
) -> None:
    """Run what is not done of one model's stage; the stages before it must be done."""
    cells = grid_cells(folder.grid, model)[stage]
    inputs = folder.grid.stage_inputs(folder, stage, cells)
    prints = {cell: fingerprint(inputs[cell]) for cell in cells}
    tasks = []
    for cell in cells:
        problem = folder.problem(cell, prints[cell])
        if problem:
            note(f"{problem}; it is run again", progress)
            folder.set_aside(cell)
        if problem is not None:
            tasks.append((cell, inputs[cell]))
    for cell, result in executor.run(tasks):
        folder.write(cell, prints[cell], result)
        advance()


def _executor(
    name: str, make_worker: MakeWorker, n_workers: int, options: dict[str, Any]
) -> Executor:
    if name == "ray":
        from retrieval_lens.experiments.executors.ray_cluster import RayExecutor

        return RayExecutor(make_worker, n_workers, **options)
    return LocalExecutor(make_worker) if n_workers == 1 else ProcessExecutor(make_worker, n_workers)
