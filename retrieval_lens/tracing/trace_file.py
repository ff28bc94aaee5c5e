"""A trace as one safetensors file: tensors, and everything else as JSON in the header.

Tensors are stored under `group/name`. Loading checks format, version, checksum and shapes; nothing
in a file is ever executed.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from retrieval_lens.errors import FileFormatError
from retrieval_lens.files import load_tensors, save_tensors
from retrieval_lens.tracing.trace import Trace

KIND = "trace"
TENSORS = ("token_ids", "evidence", "tokens", "top_positions", "top_weights")
GROUPS = ("scores", "chance", "thresholds", "observed", "hiddens")
FIELDS = ("prompt_str_tokens", "str_tokens", "text", "truncated", "channels", "metrics")


def save_trace(trace: Trace, path: Path) -> Path:
    """Write `trace` to `path`; see the module."""
    tensors = {name: getattr(trace, name) for name in TENSORS}
    for group in GROUPS:
        tensors |= {f"{group}/{name}": value for name, value in getattr(trace, group).items()}
    header = {
        "groups": {group: list(getattr(trace, group)) for group in GROUPS},
        **{name: getattr(trace, name) for name in FIELDS},
        "provenance": dict(trace.provenance),
    }
    return save_tensors(path, KIND, tensors, header)


def load_trace(path: Path) -> Trace:
    """Read a trace from `path`; see the module."""
    tensors, header = load_tensors(path, KIND)
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
