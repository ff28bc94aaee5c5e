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


def save_tensors(
    path: str | Path, kind: str, tensors: "Mapping[str, Tensor]", content: Any, version: int = 1
) -> Path:
    """Write tensors and `content` to one safetensors file and return the path.

    Args:
        path: Where to.
        kind: What the file is, such as `probe`.
        tensors: By name; they are stored on the CPU.
        content: JSON-able; no NaN, since JSON has none.
        version: Of the kind.

    Raises:
        InputError: `content` cannot be written as JSON.
        OSError: The file cannot be written (a full disk, say); an older file stays as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        body = _canonical(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"cannot write {path} as JSON: {error}") from error
    head = {"version": str(version), "sha256": _tensor_digest(body, own), "content": body}
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        save_file(own, temporary, metadata={"format": PREFIX + kind, **head})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
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
            head = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileFormatError(
            f"{path} is not a whole safetensors file ({error}); if it is a pickle, it is not read"
        ) from error
    found = (head.get("format"), head.get("version"))
    if found != (PREFIX + kind, str(version)):
        raise FileFormatError(
            f"{path} is {found[0]!r} {found[1]!r}, wanted {PREFIX + kind} {version}"
        )
    body = head.get("content", "")
    if head.get("sha256") != _tensor_digest(body, tensors):
        raise FileFormatError(f"{path} does not match its checksum: it was altered or cut short")
    return tensors, json.loads(body)


def digest(content: Any) -> str:
    """A short fingerprint of JSON types.

    Example:
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
