"""JSON files that a crash cannot spoil: written beside their place, renamed, sealed by a digest.

1. The content goes into an envelope with the kind of file, its version and the sha256 of the
   content, so that a file cut short, altered or of another kind is noticed when it is read.
2. The envelope is written beside its place, flushed to the disk and renamed: a crash leaves the old
   file or the new one.
"""

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from retrieval_lens.errors import FileFormatError, InputError

PREFIX = "retrieval_lens."


def save_json(path: str | Path, kind: str, content: Any, version: int = 1) -> Path:
    """Write `content` to `path` and return the path.

    Args:
        path: Where to.
        kind: What the file is, such as `head_set`.
        content: JSON-able; no NaN, since JSON has none.
        version: Of the kind.

    Raises:
        InputError: `content` cannot be written as JSON.
        OSError: The file cannot be written (a full disk, say); an older file stays as it was.
    """
    path = Path(path)
    try:
        # Keys become texts before they are sorted, as they will be when the file is read.
        body = _canonical(json.loads(_canonical(content)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"cannot write {path} as JSON: {error}") from error
    head = json.dumps({"format": PREFIX + kind, "version": version, "sha256": _digest(body)})
    write_atomically(path, f'{head[:-1]}, "content": {body}}}\n'.encode())
    return path


def load_json(path: str | Path, kind: str, version: int = 1) -> Any:
    """The content of a file written by `save_json`.

    Raises:
        FileNotFoundError: There is no such file.
        FileFormatError: Damaged, of another kind, or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        envelope = json.loads(path.read_bytes())
        found, number, digest = (envelope[key] for key in ("format", "version", "sha256"))
        content = envelope["content"]
        actual = _digest(_canonical(content))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileFormatError(
            f"{path} is damaged, or not a {kind} of this package: {error!r}"
        ) from error
    if (found, number) != (PREFIX + kind, version):
        raise FileFormatError(f"{path} is {found!r} {number!r}, wanted {PREFIX + kind} {version}")
    if digest != actual:
        raise FileFormatError(f"{path} does not match its checksum: it was altered or cut short")
    return content


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one step; nothing is left behind when that fails."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
