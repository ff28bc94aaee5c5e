"""Folders that a run may be killed in: one process at a time, one configuration, known versions."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from glob import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from retrieval_lens.errors import InputError
from retrieval_lens.files import load_json, save_json

LOCK = ".lock"
_PACKAGES = ("retrieval-lens", "torch", "transformers", "transformer-lens")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder for this process alone; the system lets it go if the process dies.

    What a killed process left half-written is removed.

    Raises:
        InputError: Another process is at work there.
    """
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=1)  # `is_locked` holds it for a moment
    except Timeout:
        raise InputError(f"another process is at work in {path}") from None
    try:
        for left in (*path.glob(".*.part"), *path.glob("*/.*.part")):
            left.unlink()
        yield
    finally:
        lock.release()


def require_own(path: Path, manifest: str, *ours: str) -> None:
    """Refuse a folder that holds something else than what a killed run may have left.

    Args:
        path: The folder; it may be missing.
        manifest: The file that makes the folder one of ours.
        ours: What is made before it.

    Raises:
        InputError: There are other files, and no manifest.
    """
    if not path.is_dir() or (path / manifest).exists():
        return
    own = {LOCK, *ours}
    if any(one.name not in own and one.suffix != ".part" for one in path.iterdir()):
        raise InputError(f"{path} has files in it but no {manifest}; give a new or empty folder")


def set_aside(path: Path) -> Path:
    """Move a file that does not count out of the way, beside those moved before."""
    n_before = len(list(path.parent.glob(f"{escape(path.name)}.damaged*")))
    return path.replace(path.with_name(f"{path.name}.damaged{n_before or ''}"))


def is_locked(path: Path) -> bool:
    """Whether a process is at work in the folder."""
    if not (path / LOCK).exists():
        return False
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def versions(*more: str) -> dict[str, str]:
    """Versions of what numbers depend on, and of more packages."""
    found = {"python": ".".join(map(str, sys.version_info[:2]))}
    for package in (*_PACKAGES, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def agree(
    path: Path, manifest: str, kind: str, wanted: dict[str, dict[str, Any]], allow_other: bool
) -> None:
    """Write the manifest of a new folder; refuse another configuration, or other versions.

    Args:
        path: The folder.
        manifest: Name of the file.
        kind: Of the file.
        wanted: This run's configuration, in parts whose fields have names of their own.
        allow_other: Go on with what other versions of the packages made.

    Raises:
        InputError: With what differs.
        FileFormatError: The manifest is damaged.
    """
    file, here = path / manifest, versions()
    if not file.exists():
        started = datetime.now(UTC).isoformat(timespec="seconds")
        save_json(file, kind, {**wanted, "versions": [here], "started": started})
        return
    content = load_json(file, kind)
    found, now = (
        {name: value for part in wanted for name, value in one[part].items()}
        for one in (content, wanted)
    )
    differences = [
        f"{name}: {found.get(name)!r} there, {now.get(name)!r} now"
        for name in sorted(found.keys() | now.keys())
        if found.get(name) != now.get(name)
    ]
    if differences:
        raise InputError(
            f"{path} holds another configuration ({'; '.join(differences)}); give another folder"
        )
    known = content["versions"]
    if here in known:
        return
    if not allow_other:
        raise InputError(
            f"{path} was run with {known[-1]}, here is {here}: numbers could differ; pass "
            f"allow_other_versions=True to go on all the same"
        )
    save_json(file, kind, content | {"versions": [*known, here]})
