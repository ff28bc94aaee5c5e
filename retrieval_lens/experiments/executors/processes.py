"""Cells in several worker processes of one thread each, which on a CPU is the fastest way.

1. Every process loads the model once and is given one cell after the other through a pipe.
2. A process that dies closes its pipe: another takes its place, and its cell is run again.
"""

import multiprocessing as mp
import os
import signal
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from retrieval_lens.errors import GridError
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.executors.base import (
    Executor,
    MakeWorker,
    Task,
    attempt,
    described,
    result_of,
)

MOST_DEATHS = 3  # of the workers of one cell
SECONDS_TO_END = 10
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ProcessExecutor(Executor):
    """Runs cells in `n_workers` processes on this machine."""

    def __init__(self, make_worker: MakeWorker, n_workers: int):
        self.make_worker: MakeWorker = make_worker
        self.n_workers: int = n_workers
        self.lanes: list[_Lane] = []

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Every cell with its result, as they are finished."""
        waiting, deaths = deque(tasks), Counter[str]()
        while len(self.lanes) < min(self.n_workers, len(tasks)):
            self.lanes.append(_Lane(self.make_worker))
        while waiting or any(lane.task for lane in self.lanes):
            for lane in self.lanes:
                if waiting and lane.task is None:
                    lane.give(waiting.popleft())
            busy = {lane.connection: lane for lane in self.lanes if lane.task}
            for ready in wait(list(busy)):
                lane = busy[ready]  # pyright: ignore[reportArgumentType]
                cell, inputs = lane.task  # pyright: ignore[reportGeneralTypeIssues]
                try:
                    reply = lane.take()
                except (EOFError, OSError):
                    waiting.appendleft((cell, inputs))
                    self._replace(lane, cell, deaths)
                else:
                    yield cell, result_of(cell, reply)

    def _replace(self, lane: "_Lane", cell: Cell, deaths: Counter[str]) -> None:
        code = lane.stop()
        deaths[cell.key] += 1
        if deaths[cell.key] >= MOST_DEATHS:
            raise GridError(
                f"cell {cell.key}: {MOST_DEATHS} workers died on it, the last with exit code "
                f"{code} (-9 is often the system, out of memory); use fewer workers"
            )
        self.lanes[self.lanes.index(lane)] = _Lane(self.make_worker)

    def close(self) -> None:
        """End the processes."""
        for lane in self.lanes:
            lane.stop()
        self.lanes = []


class _Lane:
    """One process, and the task that it has."""

    def __init__(self, make_worker: MakeWorker):
        context = mp.get_context("spawn")  # a fork would copy threads that torch has started
        self.connection, theirs = context.Pipe()
        self.task: Task | None = None
        self.process = context.Process(target=_serve, args=(theirs, make_worker), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()  # so that the pipe ends when the process does

    def give(self, task: Task) -> None:
        self.task = task
        with suppress(OSError):  # it has died; waiting for its answer tells
            self.connection.send(task)

    def take(self) -> Any:
        reply = self.connection.recv()
        self.task = None
        if reply[0] is None:
            error = GridError(f"a worker could not start: {reply[1][0]}")
            error.add_note(f"In the worker:\n{reply[1][1]}")
            raise error
        return reply

    def stop(self) -> int | None:
        self.connection.close()  # an idle process ends by itself, and cleans up
        self.process.join(0 if self.task else SECONDS_TO_END)
        self.process.terminate()
        self.process.join()
        return self.process.exitcode


def _serve(connection: Connection, make_worker: MakeWorker) -> None:
    """A worker process: cells in, results out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    import torch

    torch.set_num_threads(1)
    try:
        try:
            worker = make_worker()
        except Exception as error:
            connection.send((None, described(error)))
            return
        while True:
            connection.send(attempt(worker, *connection.recv()))
    except (EOFError, OSError):
        return  # the parent is gone


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started here read these variables before they import torch."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
