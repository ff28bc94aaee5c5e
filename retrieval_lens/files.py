"""Files that a crash cannot spoil: written beside their place, renamed, sealed by a digest.

1. The content goes into an envelope with the kind of file, its version and the sha256 of the
   content, so that a file cut short, altered or of another kind is noticed when it is read.
2. The envelope is written beside its place, flushed to the disk and renamed: a crash leaves the old
   file or the new one.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_lens.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "retrieval_lens."
KEY = "retrieval_lens"  # of the envelope in a safetensors file


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
    body = _body(path, content)
    write_atomically(path, f"{_envelope(kind, version, _digest(body), body)}\n".encode())
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
    content, sealed = _opened(path, path.read_bytes(), kind, version)
    if sealed != _digest(_canonical(content)):
        raise FileFormatError(f"{path} does not match its checksum: it was altered or cut short")
    return content


def save_tensors(
    path: str | Path, kind: str, tensors: "Mapping[str, Tensor]", content: Any, version: int = 1
) -> Path:
    """Write tensors and `content` to one safetensors file and return the path.

    Args:
        path: Where to.
        kind: What the file is, such as `trace`.
        tensors: By name; they are stored on the CPU.
        content: JSON-able; no NaN, since JSON has none.
        version: Of the kind.

    Raises:
        InputError: `content` cannot be written as JSON.
        OSError: The file cannot be written (a full disk, say); an older file stays as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save

    path = Path(path)
    # cloned: one may be a view of another, which no file holds twice
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    body = _body(path, content)
    # one key: the library writes several in any order, and the same content gives the same bytes
    envelope = _envelope(kind, version, _tensor_digest(body, own), body)
    try:
        data = save(own, metadata={KEY: envelope})
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error
    write_atomically(path, data)
    return path


def load_tensors(path: str | Path, kind: str, version: int = 1) -> "tuple[dict[str, Tensor], Any]":
    """Tensors and content of a file written by `save_tensors`.

    Raises:
        FileNotFoundError: There is no such file.
        FileFormatError: Damaged, of another kind, or of another version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FileFormatError(
            f"{path} is not a whole safetensors file ({error}); if it is a pickle, it is not read"
        ) from error
    if KEY not in metadata:
        raise FileFormatError(f"{path} is a safetensors file, but not a {kind} of this package")
    content, sealed = _opened(path, metadata[KEY], kind, version)
    if sealed != _tensor_digest(_canonical(content), tensors):
        raise FileFormatError(f"{path} does not match its checksum: it was altered or cut short")
    return tensors, content


def digest(content: Any) -> str:
    """A short fingerprint of JSON types.

    Examples:
        >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
        True
    """
    return _digest(_canonical(content))[:16]


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


def _body(path: Path, content: Any) -> str:
    try:
        # keys become texts before they are sorted, as they will be when the file is read
        return _canonical(json.loads(_canonical(content)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"cannot write {path} as JSON: {error}") from error


def _envelope(kind: str, version: int, digest: str, body: str) -> str:
    head = json.dumps({"format": PREFIX + kind, "version": version, "sha256": digest})
    return f'{head[:-1]}, "content": {body}}}'


def _opened(path: Path, text: str | bytes, kind: str, version: int) -> tuple[Any, Any]:
    """Content and digest of an envelope of that kind and version."""
    try:
        envelope = json.loads(text)
        found, number, sealed = (envelope[key] for key in ("format", "version", "sha256"))
        content = envelope["content"]
        _canonical(content)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileFormatError(
            f"{path} is damaged, or not a {kind} of this package: {error!r}"
        ) from error
    if (found, number) != (PREFIX + kind, version):
        raise FileFormatError(f"{path} is {found!r} {number!r}, wanted {PREFIX + kind} {version}")
    return content, sealed


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _tensor_digest(body: str, tensors: "Mapping[str, Tensor]") -> str:
    import torch

    digest = hashlib.sha256(body.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
