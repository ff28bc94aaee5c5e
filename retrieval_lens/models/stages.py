"""What a long preparation says on standard error while it works."""

from collections.abc import Iterator
from contextlib import contextmanager

from retrieval_lens.progress import is_watched


def note(text: str, progress: bool = True) -> None:
    """One line on standard error, unless `progress` is off."""
    if progress:
        from rich.console import Console

        Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def stage(text: str, progress: bool = True) -> Iterator[None]:
    """A spinner with a text while the block runs; one plain line where there is no terminal."""
    if not progress:
        yield
        return
    import sys

    from rich.console import Console

    # Bound to this very stream: a spinner must not vanish when the block redirects sys.stderr.
    console = Console(file=sys.stderr)
    if not is_watched(console):
        note(text)
        yield
        return
    with console.status(text):
        yield
