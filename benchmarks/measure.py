"""Clocks and peak memory, on a CPU or a GPU."""

import gc
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table


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


def report(results: list[dict[str, Any]], where: str, out: Path | None) -> None:
    """Print a table a result, and what they were measured on; `out` gets them as JSON."""
    console = Console(soft_wrap=True)
    for result in results:
        table = Table(title=result["what"], title_justify="left", show_header=False)
        for key, value in result.items():
            table.add_row(key, str(value))
        console.print(table)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    console.print(f"{where}; {platform.platform()}; {versions}")
    if out is not None:
        out.write_text(json.dumps(results, indent=1))
