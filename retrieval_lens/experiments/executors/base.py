"""What an executor does: give cells to workers, take results back, whatever happens to a worker."""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

from retrieval_lens.errors import GridError
from retrieval_lens.experiments.cells import Cell

Task = tuple[Cell, dict[str, Any]]  # a cell and its inputs
Worker = Callable[[Cell, dict[str, Any]], dict[str, Any]]
MakeWorker = Callable[[], Worker]  # loads the model; must be picklable for other processes
Reply = tuple[bool, Any]  # (True, result), or (False, (one line, traceback))


class Executor(ABC):
    """Runs tasks on workers that it makes when they are first needed; a context manager."""

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Every cell with its result, as they are finished.

        Raises:
            GridError: A cell raised an error, or its workers died too often.
        """

    @abstractmethod
    def close(self) -> None:
        """Let the workers go, whatever they are doing."""

    def __enter__(self) -> "Executor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def attempt(worker: Worker, cell: Cell, inputs: dict[str, Any]) -> Reply:
    """Run a cell in a worker elsewhere; its error comes back as text, which always pickles."""
    try:
        return True, worker(cell, inputs)
    except Exception as error:
        return False, described(error)


def described(error: Exception) -> tuple[str, str]:
    """An error in one line, and its traceback."""
    return f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))


def result_of(cell: Cell, reply: Reply) -> dict[str, Any]:
    """The result in a reply.

    Raises:
        GridError: The cell raised an error.
    """
    done, content = reply
    if done:
        return content
    failure = GridError(f"cell {cell.key} failed: {content[0]}")
    failure.add_note(f"In the worker:\n{content[1]}")
    raise failure
