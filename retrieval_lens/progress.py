"""A progress bar on stderr that shows itself only when the work takes more than two seconds.

Where stderr is no terminal, as in the log of a cluster, it is at most a line a minute instead.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import Any, Protocol, runtime_checkable

DELAY_SECONDS = 2.0
LINE_SECONDS = 60.0


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

    Examples:
        >>> with progress_bar("counting", total=3) as advance:
        ...     for _ in range(3):
        ...         advance()
    """
    bar = _LateBar(description, total)
    timer = Timer(DELAY_SECONDS, bar.show)
    timer.daemon = True
    if enabled:
        timer.start()
    try:
        yield bar.advance
    finally:
        timer.cancel()
        bar.stop()


def is_watched(console: Any) -> bool:
    """Whether what moves is seen; with FORCE_COLOR rich takes a file for a terminal."""
    return console.is_interactive and console.file.isatty()


class _LateBar:
    """Counts from the start, shows itself when told to, never after it was stopped."""

    def __init__(self, description: str, total: int):
        self.description, self.total, self.done = description, total, 0
        self.lock, self.stopped = Lock(), False
        self.bar: Any = None

    def show(self) -> None:
        with self.lock:
            if not self.stopped:
                self.bar = _open_bar()
                self.task = self.bar.add_task(self.description, total=self.total)
                self.bar.update(self.task, completed=self.done)

    def advance(self, n: int = 1) -> None:
        with self.lock:
            self.done += n
            if self.bar is not None:
                self.bar.update(self.task, completed=self.done)

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            if self.bar is not None:
                self.bar.stop()


def _open_bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not (console.is_jupyter or is_watched(console)):
        return _Lines(console)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, *times, console=console, transient=True, speed_estimate_period=600)
    bar.start()
    return bar


class _Lines:
    """The bar of a log: how much is done, at most once a minute."""

    def __init__(self, console: Any, clock: Callable[[], float] = time.monotonic):
        self.console, self.clock = console, clock
        self.began = self.said = clock()

    def add_task(self, description: str, total: int) -> int:
        self.description, self.total = description, total
        return 0

    def update(self, task: int, completed: int) -> None:
        now = self.clock()
        if now - self.said >= LINE_SECONDS:
            self.said = now
            took = f"{(now - self.began) / 60:.0f} min"
            text = f"{self.description}: {completed} of {self.total} after {took}"
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Nothing is left to take away."""
