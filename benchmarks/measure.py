"""Clocks and peak memory, on a CPU or a GPU."""

import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def synchronize(device: torch.device) -> None:
    """Wait for a GPU; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


@contextmanager
def peak_megabytes(device: torch.device) -> Iterator[list[float]]:
    """A list that holds, after the block, how far memory rose above where it was, in MB."""
    gc.collect()
    result: list[float] = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield result
        result.append((torch.cuda.max_memory_allocated(device) - before) / 2**20)
        return
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    yield result
    result.append((_status("VmHWM") - before) / 2**10)


def _status(field: str) -> float:
    """Kilobytes from /proc; the process's all-time peak where there is no /proc."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return float(line.split()[1])
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)
