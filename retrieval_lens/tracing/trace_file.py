"""A trace as one safetensors file: tensors, and everything else as JSON in the header.

1. Tensors are stored under `group/name`; the rest of the trace is one JSON text under the header
   key `retrieval_lens_trace`, behind the sha256 of that text and of the tensors' bytes.
2. The file is written beside its place and renamed, so a crash leaves the old file or the new one.
3. Loading checks format, version, digest and shapes; nothing in a file is ever executed.
"""

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from retrieval_lens.errors import FileFormatError
from retrieval_lens.tracing.trace import Trace

KEY = "retrieval_lens_trace"
VERSION = 1
TENSORS = ("token_ids", "evidence", "tokens", "top_positions", "top_weights")
GROUPS = ("scores", "chance", "thresholds", "observed", "hiddens")
FIELDS = ("prompt_str_tokens", "str_tokens", "text", "truncated", "channels", "metrics")


def save_trace(trace: Trace, path: Path) -> Path:
    """Write `trace` to `path`; see the module."""
    tensors = {name: getattr(trace, name).clone().contiguous() for name in TENSORS}
    for group in GROUPS:  # a score may be a view of what it observed: no file holds both as one
        found = getattr(trace, group).items()
        tensors |= {f"{group}/{name}": value.clone().contiguous() for name, value in found}
    header = {
        "version": VERSION,
        "groups": {group: list(getattr(trace, group)) for group in GROUPS},
        **{name: getattr(trace, name) for name in FIELDS},
        "provenance": dict(trace.provenance),
    }
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        text = json.dumps(header)
        save_file(tensors, temporary, metadata={KEY: f"{_digest(text, tensors)} {text}"})
        os.replace(temporary, path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load_trace(path: Path) -> Trace:
    """Read a trace from `path`; see the module."""
    header, tensors = _read(path)
    try:
        groups = {
            group: {name: tensors[f"{group}/{name}"] for name in header["groups"][group]}
            for group in GROUPS
        }
        fields: dict[str, Any] = {name: header[name] for name in FIELDS}
        for name in ("prompt_str_tokens", "str_tokens"):
            fields[name] = tuple(fields[name])
        fields["channels"] = {k: tuple(v) for k, v in header["channels"].items()}
        single = {name: tensors[name] for name in TENSORS}
        _check_shapes(path, single, groups, len(fields["str_tokens"]))
        return Trace(**single, **groups, **fields, provenance=header["provenance"])
    except (KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path} lacks a part of a trace: {error!r}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileFormatError(
            f"{path} is not a whole safetensors file ({error}); if it is a pickle, it is not read"
        ) from error
    if KEY not in metadata:
        raise FileFormatError(f"{path} is a safetensors file, but not a trace of this package")
    try:
        digest, _, text = metadata[KEY].partition(" ")
        header = json.loads(text)
        found = header["version"]
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise FileFormatError(f"the header of {path} is damaged: {error!r}") from error
    if found != VERSION:
        raise FileFormatError(f"{path} has trace format {found!r}; this version reads {VERSION}")
    if digest != _digest(text, tensors):
        raise FileFormatError(f"{path} does not match its checksum: it is damaged")
    return header, tensors


def _digest(header: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_shapes(
    path: Path, single: dict[str, Tensor], groups: dict[str, dict[str, Tensor]], n_texts: int
) -> None:
    by_step = [single["tokens"], single["top_positions"], single["top_weights"]]
    by_step += [tensor for group in groups.values() for tensor in group.values()]
    steps = {n_texts, *(len(tensor) for tensor in by_step)}
    grids = {tuple(tensor.shape[1:3]) for tensor in by_step if tensor.ndim > 2}
    if len(steps) != 1 or len(grids) != 1:
        raise FileFormatError(
            f"the tensors of {path} disagree: steps {steps}, (layer, head) {grids}"
        )
