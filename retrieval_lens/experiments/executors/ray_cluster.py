"""Cells on a Ray cluster: one model per worker, held as an actor.

1. Ray places the actors by the CPUs and GPUs that each asks for.
2. An actor that dies is started again, on another node if need be, and its cell is run again; Ray
   does both (`max_restarts`, `max_task_retries`).
3. Results come back to the driver, which writes the files: the nodes share no disk.

Source: https://docs.ray.io/en/latest/ray-core/fault_tolerance/actors.html
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from retrieval_lens.errors import GridError, InputError
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.executors.base import (
    Executor,
    MakeWorker,
    Task,
    attempt,
    result_of,
)

MOST_RETRIES = 3  # of one cell
MOST_RESTARTS = 100  # of one actor: nodes come and go


class RayExecutor(Executor):
    """Runs cells on `n_workers` actors.

    Args:
        make_worker: Loads the model.
        n_workers: Actors.
        address: Of a cluster; None takes RAY_ADDRESS, or starts one on this machine. A cluster
            that this process is connected to is used as it is.
        cpus: That each actor asks for.
        gpus: That each actor asks for; may be a fraction.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        make_worker: MakeWorker,
        n_workers: int,
        address: str | None = None,
        cpus: float | int = 1,
        gpus: float | int = 0,
    ):
        self.ray: Any = _import_ray()
        self.make_worker: MakeWorker = make_worker
        self.n_workers: int = n_workers
        self.resources: dict[str, float | int] = {"num_cpus": cpus, "num_gpus": gpus}
        self.actors: list[Any] = []
        self.ours: bool = not self.ray.is_initialized()
        if self.ours:
            self._connect(address or os.environ.get("RAY_ADDRESS") or "local")

    def _connect(self, address: str) -> None:
        cpus, gpus = self.resources["num_cpus"], self.resources["num_gpus"]
        here: dict[str, Any] = {}
        if address == "local":
            here = {"num_cpus": -int(-cpus * self.n_workers // 1), "include_dashboard": False}
            here["num_gpus"] = -int(-gpus * self.n_workers // 1) or None
        try:
            self.ray.init(address=address, log_to_driver=False, **here)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"no Ray cluster at {address!r}: {error}") from error

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Every cell with its result, as they are finished."""
        waiting, running = deque(tasks), {}
        self._start(min(self.n_workers, len(tasks)))
        idle = deque(self.actors)
        while waiting or running:
            while waiting and idle:
                (cell, inputs), actor = waiting.popleft(), idle.popleft()
                running[actor.run.remote(cell, inputs)] = cell, actor
            done, _ = self.ray.wait(list(running), num_returns=1)
            cell, actor = running.pop(done[0])
            try:
                reply = self.ray.get(done[0])
            except self.ray.exceptions.RayError as error:
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                raise GridError(
                    f"cell {cell.key}: its Ray worker died more than {MOST_RETRIES} times, or "
                    f"could not start ({type(error).__name__}: {lines[0]} … {lines[-1]})"
                ) from error
            idle.append(actor)
            yield cell, result_of(cell, reply)

    def _start(self, n: int) -> None:
        limits = {"max_restarts": MOST_RESTARTS, "max_task_retries": MOST_RETRIES}
        actor = self.ray.remote(**self.resources, **limits)(_Actor)
        threads = max(1, int(self.resources["num_cpus"]))
        while len(self.actors) < n:
            self.actors.append(actor.remote(self.make_worker, threads))

    def close(self) -> None:
        """End the actors, and the connection if it is ours."""
        for actor in self.actors:
            self.ray.kill(actor)
        self.actors = []
        if self.ours:
            self.ray.shutdown()


class _Actor:
    """One model on one node."""

    def __init__(self, make_worker: MakeWorker, n_threads: int):
        import torch

        torch.set_num_threads(n_threads)
        self.worker = make_worker()

    def run(self, cell: Cell, inputs: dict[str, Any]) -> Any:
        return attempt(self.worker, cell, inputs)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError(
            "executor='ray' needs Ray, which is not installed: "
            "pip install 'retrieval-lens[cluster]'"
        ) from error
    return ray
