"""Go on with smaller batches when the memory does not suffice."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def with_enough_memory(run: Callable[[int], T], n_rows: int) -> tuple[T, int]:
    """`run(n_rows)`, with half the rows whenever memory runs out, down to one.

    Returns:
        What `run` returned, and the rows that it took.

    Examples:
        >>> with_enough_memory(lambda n_rows: f"{n_rows} at once", n_rows=8)
        ('8 at once', 8)
    """
    while True:
        try:
            return run(n_rows), n_rows
        except RuntimeError as error:
            if n_rows == 1 or not _out_of_memory(error):
                raise
        # Outside the handler: the exception holds the frames that hold the tensors.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        n_rows //= 2


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
