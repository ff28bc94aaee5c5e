"""Where cells run: in this process, in worker processes, or on a Ray cluster."""

from retrieval_lens.experiments.executors.base import Executor, MakeWorker, Worker
from retrieval_lens.experiments.executors.local import LocalExecutor
from retrieval_lens.experiments.executors.processes import ProcessExecutor

__all__ = ["Executor", "LocalExecutor", "MakeWorker", "ProcessExecutor", "Worker"]
