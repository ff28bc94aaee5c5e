"""A progress bar on stderr that shows itself only when the work takes more than two seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

DELAY_SECONDS = 2.0


@runtime_checkable
class Advance(Protocol):
    """Tells the bar that `n` more of the total are done."""

    def __call__(self, n: int = 1) -> None:
        """Count `n` more."""
        ...


@contextmanager
def progress_bar(description: str, total: int, enabled: bool = True) -> Iterator[Advance]:
    """A function to call with every piece of work done.

    Args:
        description: What is going on.
        total: Pieces in all.
        enabled: False shows nothing.

    Example:
        >>> with progress_bar("counting", total=3) as advance:
        ...     for _ in range(3):
        ...         advance()
    """
    start, done, shown = time.monotonic(), 0, None

    def advance(n: int = 1) -> None:
        nonlocal done, shown
        done += n
        if enabled and shown is None and time.monotonic() - start > DELAY_SECONDS:
            shown = _start(description, total)
        if shown is not None:
            shown[0].update(shown[1], completed=done)

    try:
        yield advance
    finally:
        if shown is not None:
            shown[0].stop()


def _start(description: str, total: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    bar.start()
    return bar, bar.add_task(description, total=total)
