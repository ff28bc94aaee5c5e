"""The prose that a needle is hidden in: our own, or the user's files.

Four texts ship with the package (about 2,300 words each): `letters`, `workshop`, `coast` and
`essays`. `mixed`, the default, is all four in this order.
"""

import hashlib
from importlib.resources import files
from pathlib import Path

from retrieval_lens.errors import InputError, UnknownNameError

SHIPPED = ("letters", "workshop", "coast", "essays")
NAMES = ("mixed", *SHIPPED)


def read_haystack(haystack: str | Path | None = None) -> tuple[str, str]:
    """Name and text of a haystack; the name of a file or folder ends in a digest of its text.

    Args:
        haystack: One of `NAMES`, a text file, a folder of `*.txt` files (read in order of name),
            or None for `mixed`.

    Raises:
        UnknownNameError: Neither a shipped name nor an existing file or folder.
        InputError: An empty corpus, or a file that is not UTF-8 text.

    Examples:
        >>> read_haystack("coast")[0]
        'coast'
    """
    name = "mixed" if haystack is None else str(haystack)
    if name in NAMES:
        folder = files("retrieval_lens.tasks") / "haystack"
        parts = SHIPPED if name == "mixed" else (name,)
        texts = [(folder / f"{part}.txt").read_text("utf-8").strip() for part in parts]
        return name, "\n\n".join(texts)
    path = Path(name)
    if not path.exists():
        raise UnknownNameError(
            f"no haystack {name!r}: give one of {', '.join(NAMES)}, a text file, or a folder of "
            f"*.txt files"
        )
    sources = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    text = "\n\n".join(_read(source) for source in sources).strip()
    if not text:
        raise InputError(f"the haystack {name!r} is empty ({len(sources)} text files in it)")
    return f"{path.name}@{hashlib.sha256(text.encode()).hexdigest()[:8]}", text


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason})") from error
