"""A finished folder says so itself, and can be checked.

`complete.json` holds the size and sha256 of every other file; it is written last, so a folder
without it was never finished.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

SEAL = "complete.json"
WEIGHTS = "model.safetensors"


def sha256_of(path: Path) -> str:
    """Digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, origin_sha256: str) -> None:
    """Write `complete.json`: what the folder was made from, and what it holds.

    Args:
        folder: A flat folder of finished files.
        origin_sha256: Digest of the file that they were made from.
    """
    files = {
        path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
    }
    text = json.dumps({"origin_sha256": origin_sha256, "files": files}, indent=1)
    (folder / SEAL).write_text(text, encoding="utf-8")


def read_seal(folder: Path) -> dict[str, Any] | None:
    """What `complete.json` says, or None where it is missing or unreadable."""
    try:
        written = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = isinstance(written, dict) and isinstance(written.get("files"), dict)
    return written if wanted and WEIGHTS in written["files"] else None


def damage(folder: Path, origin_sha256: str) -> str | None:
    """Why the folder cannot be used, or None when every file is as it was sealed.

    Args:
        folder: The folder.
        origin_sha256: Digest of the file that it must have been made from.
    """
    written = read_seal(folder)
    if written is None:
        return f"{SEAL} is missing or unreadable"
    if written.get("origin_sha256") != origin_sha256:
        return "it was made from another file"
    for name, expected in written["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["size"]:
            return f"{name} has {path.stat().st_size} bytes, not {expected['size']}"
        if sha256_of(path) != expected["sha256"]:
            return f"{name} is damaged (its sha256 is not the one it was saved with)"
    return None
