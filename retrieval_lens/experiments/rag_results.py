"""What came out of a grid of answers: one row an answer, and the answers with their trail."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_lens.errors import InputError
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.conditions import Variant
from retrieval_lens.experiments.rag_grid import ANSWER, RagGrid
from retrieval_lens.experiments.reading import finished
from retrieval_lens.experiments.results import what, where
from retrieval_lens.experiments.store import RunFolder, open_folder
from retrieval_lens.rag.answer import Answer

if TYPE_CHECKING:
    from pandas import DataFrame

COUNTS = ("n_retrievals", "n_rounds", "n_steps")
_WHOLE = ("k", "draw", "max_tokens", *COUNTS)


def load_answers(folder: str | Path, partial: bool = False) -> "DataFrame":
    """Every answer with its trail: drafts, hits, heads used, windows shown.

    Args:
        folder: Where a `RagGrid` was run.
        partial: Take the finished cells of an unfinished grid.

    Returns:
        One row an answer: the prompt and condition columns of `load_results`, then `answer`, a
        `rag.Answer`. Invalid questions have none.

    Raises:
        InputError: No grid of answers there, or an unfinished one without `partial`.
        FileFormatError: A damaged cell, or cells of different weights.
    """
    from pandas import DataFrame

    opened = open_folder(folder)
    grid = opened.grid
    if not isinstance(grid, RagGrid):
        raise InputError(f"{folder} holds a grid of the task {grid.task!r}, which has no answers")
    rows = [
        where(cell, result)
        | what(variant)
        | {"answer": Answer.from_json(result["answers"][variant.label]["answer"])}
        for cell, result, variant in _runs(grid, opened, partial)
        if "invalid" not in result
    ]
    return _typed(DataFrame(rows, columns=[*_start(grid), "answer"]))


def rag_frame(grid: RagGrid, folder: RunFolder, partial: bool = False) -> "DataFrame":
    """The table of `load_results` for a grid of answers."""
    from pandas import DataFrame

    rows = [
        where(cell, result) | what(variant) | _outcome(grid, result, variant)
        for cell, result, variant in _runs(grid, folder, partial)
    ]
    numbers = [*grid.metrics, *grid.first, *COUNTS, *grid.timings]
    frame = DataFrame(rows, columns=[*_start(grid), *numbers, "stopped_by", "text"])
    return _typed(frame.astype({name: float for name in numbers if name not in COUNTS}))


def _runs(grid: RagGrid, folder: RunFolder, partial: bool) -> Iterator[tuple[Cell, Any, Variant]]:
    for cell, result in finished(folder, ANSWER, partial):
        for variant in grid.stage_variants(ANSWER):
            yield cell, result, variant


def _outcome(grid: RagGrid, result: Any, variant: Variant) -> dict[str, Any]:
    """Nothing where the question is invalid."""
    if "invalid" in result:
        return {}
    found = result["answers"][variant.label]
    answer = Answer.from_json(found["answer"])
    metrics = answer.metrics
    decoded = (len(one.draft_tokens) + len(one.rewrite_tokens) for one in answer.rounds)
    return {
        **{name: metrics[name] for name in grid.metrics},
        **{name: int(metrics[name]) for name in ("n_retrievals", "n_rounds")},
        **{name: getattr(answer, name) for name in grid.first},
        "n_steps": sum(decoded),
        "seconds": found["seconds"],
        "prefill_seconds": result["prefill_seconds"],
        "stopped_by": answer.stopped_by,
        "text": answer.text,
    }


def _start(grid: RagGrid) -> list[str]:
    prompt = ["model", *grid.axes, "example_id", "prompt", "valid", "invalid", *grid.details]
    return [*prompt, "condition", "k", "draw"]


def _typed(frame: "DataFrame") -> "DataFrame":
    return frame.astype({name: "Int64" for name in _WHOLE if name in frame})
