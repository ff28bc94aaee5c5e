"""What a grid's folder holds: finished cells, the active heads, the static heads.

Everything is read from the cell files, each checked against its checksum.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.ablation_grid import DETECT, MATCHED, OWN, AblationGrid
from retrieval_lens.experiments.cells import Cell, grid_cells
from retrieval_lens.experiments.conditions import Variant
from retrieval_lens.experiments.inputs import ranking
from retrieval_lens.experiments.store import RunFolder, open_folder
from retrieval_lens.heads import HeadSet

if TYPE_CHECKING:
    from retrieval_lens.analysis import StepSets


def load_active(
    folder: str | Path, partial: bool = False, *, model: str | None = None
) -> "list[StepSets]":
    """D_t of every clean response, as `analysis.dynamism` and `analysis.test_retest` take them.

    Args:
        folder: Where the grid was run.
        partial: Take the finished cells of an unfinished grid.
        model: Of the grid's models; None takes the only one.

    Raises:
        InputError: As in `load_results`, or several models and none chosen.
        UnknownNameError: No such model in the grid.
        FileFormatError: As in `load_results`.
    """
    from retrieval_lens.analysis import StepSets

    opened, grid = open_ablations(folder)
    found = []
    for cell, result in finished(opened, OWN, partial, chosen_model(opened, model)):
        if "invalid" in result:
            continue
        steps = result["clean"]["active"]
        n_layers, n_heads = result["shape"]
        active = torch.zeros(len(steps), n_layers * n_heads, dtype=torch.bool)
        for t, heads in enumerate(steps):
            active[t, heads] = True
        meta = {**cell.where, "score": grid.score}
        active = active.unflatten(1, (n_layers, n_heads))
        tokens = torch.tensor(result["clean"]["tokens"])
        found.append(StepSets(active, result["example_id"], meta, tokens=tokens))
    return found


def load_static(folder: str | Path, k: int | None = None, *, model: str | None = None) -> HeadSet:
    """The static heads of the grid's detection corpus.

    Args:
        folder: Where the grid was run; the detection stage must be done.
        k: How many; None takes the grid's `static_k`.
        model: Of the grid's models; None takes the only one.

    Raises:
        InputError: No grid there, or without a corpus, or the corpus is not done, or several models
            and none chosen.
        UnknownNameError: No such model in the grid.
        FileFormatError: A damaged cell.
    """
    opened, grid = open_ablations(folder)
    if not grid.has_corpus:
        raise InputError(f"{folder} has no detection corpus")
    ranked = static_ranking(opened, grid, chosen_model(opened, model), partial=False)
    return ranked.top(grid.static_k if k is None else k)


def open_ablations(folder: str | Path) -> tuple[RunFolder, AblationGrid]:
    """The folder of an earlier grid of ablations, and the grid.

    Raises:
        InputError: No grid was run there, or one that ablates no heads.
        FileFormatError: The manifest is damaged.
    """
    opened = open_folder(folder)
    if not isinstance(opened.grid, AblationGrid):
        raise InputError(
            f"{folder} holds a grid of the task {opened.grid.task!r}, which ablates no heads; "
            f"load_results reads it"
        )
    return opened, opened.grid


def chosen_model(folder: RunFolder, model: str | None) -> str:
    """The model that was chosen, or the only one."""
    models = folder.grid.models
    if model is None and len(models) > 1:
        raise InputError(f"{folder.path} has several models: say model=, one of {list(models)}")
    if model is not None and model not in models:
        raise UnknownNameError(f"no model {model!r} in {folder.path}; it has: {', '.join(models)}")
    return models[0] if model is None else model


def static_ranking(folder: RunFolder, grid: AblationGrid, model: str, partial: bool) -> HeadSet:
    """The ranking of all heads; empty while an unfinished detection may not rank."""
    cells = grid_cells(grid, model)[DETECT]
    found = [result for _, result in finished(folder, DETECT, partial, model)]
    return ranking(grid, found) if len(found) == len(cells) else HeadSet()


def finished(
    folder: RunFolder, stage: str, partial: bool, model: str | None = None
) -> Iterator[tuple[Cell, Any]]:
    """The finished cells of a stage with their results."""
    cells = grid_cells(folder.grid, model)[stage]
    for cell in cells:
        try:
            result = folder.read(cell)
        except FileNotFoundError:
            if partial:
                continue
            n_done = sum(folder.cell_path(one).exists() for one in cells)
            raise InputError(
                f"the grid in {folder.path} is not finished: {n_done} of {len(cells)} cells of "
                f"stage {stage!r} are done; run it again, or pass partial=True"
            ) from None
        yield cell, result


def runs(
    folder: RunFolder, grid: AblationGrid, partial: bool
) -> Iterator[tuple[Cell, Any, Any, Variant]]:
    """Every run, prompts in order, the variants of each in the order of the grid's conditions.

    Yields the cell, what is known of its prompt, the result of the run's stage, and the variant.
    """
    own = dict(finished(folder, OWN, partial))
    matched = {(c.model, c.place): r for c, r in finished(folder, MATCHED, partial)}
    for cell, result in own.items():
        of_stage = {OWN: result, MATCHED: matched.get((cell.model, cell.place))}
        stages = {v: s for s in of_stage for v in grid.stage_variants(s)}
        for variant in grid.variants:
            found = of_stage[stages[variant]]
            if found is not None:
                yield cell, result, found, variant
