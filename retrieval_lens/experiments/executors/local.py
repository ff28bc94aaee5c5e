"""Cells one after the other, in this process."""

from collections.abc import Iterator, Sequence
from typing import Any

from retrieval_lens.errors import GridError
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.executors.base import Executor, MakeWorker, Task, Worker


class LocalExecutor(Executor):
    """Runs cells in this process."""

    def __init__(self, make_worker: MakeWorker):
        self.make_worker = make_worker
        self.worker: Worker | None = None

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Every cell with its result, in order."""
        for cell, inputs in tasks:
            if self.worker is None:
                self.worker = self.make_worker()
            try:
                result = self.worker(cell, inputs)
            except Exception as error:
                raise GridError(
                    f"cell {cell.key} failed: {type(error).__name__}: {error}"
                ) from error
            yield cell, result

    def close(self) -> None:
        """Drop the worker."""
        self.worker = None
