"""What every published file comes down to: heads in an order, maybe scores, and what it says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.heads.head import Head
from retrieval_lens.heads.random_sets import model_shape


class Architecture(NamedTuple):
    """Layers, query heads a layer, KV heads a layer; the last is None where it is not known."""

    n_layers: int
    n_heads: int
    n_kv_heads: int | None = None

    def __str__(self) -> str:
        kv = "" if self.n_kv_heads is None else f" and {self.n_kv_heads} KV heads"
        return f"{self.n_layers} layers of {self.n_heads} heads{kv}"


@dataclass(frozen=True)
class PublishedList:
    """The content of one file.

    Attributes:
        heads: Query heads, in the order of the file.
        scores: The score of each, or None where the file only ranks.
        architecture: Of the list's model, where the file states it; None otherwise.
        says: What else the file says, JSON-able.
    """

    heads: tuple[Head, ...]
    scores: tuple[float, ...] | None
    architecture: Architecture | None
    says: Mapping[str, Any] = field(default_factory=dict)


def damaged(path: Path, why: str) -> FileFormatError:
    """The error of a file that is not what its format asks for."""
    return FileFormatError(
        f"{path} is damaged, or of another format: {why}; get the file again, or name its format"
    )


def architecture_of(model: Any) -> Architecture:
    """Layers and heads of a bridge, of a `model_info`, or of a tuple.

    Args:
        model: A bridge, a `model_info` dict, or (layers, heads) or (layers, heads, KV heads).

    Raises:
        InputError: Something else, or numbers that no model has.
    """
    cfg = getattr(model, "cfg", None)
    if isinstance(model, tuple) and len(model) in (2, 3):
        numbers = model
    elif isinstance(model, Mapping) and {"n_layers", "n_heads"} <= model.keys():
        numbers = (model["n_layers"], model["n_heads"], model.get("n_key_value_heads"))
    elif cfg is not None:
        numbers = (*model_shape(model), cfg.n_key_value_heads or cfg.n_heads)
    else:
        raise InputError(
            f"model is a bridge, a model_info, or (layers, heads, KV heads); got {model!r}"
        )
    given = [whole_number(number) for number in numbers if number is not None]
    if len(given) < 2 or min(given) < 1 or given[1] % given[-1]:
        raise InputError(
            f"layers, heads and KV heads are whole numbers from 1, and KV heads divide the heads; "
            f"got {numbers}"
        )
    return Architecture(given[0], given[1], given[2] if len(given) > 2 else None)


def whole_number(value: Any) -> int:
    """`value` as an int; -1, which no count is, where it is none."""
    try:
        return -1 if isinstance(value, bool) else index(value)
    except TypeError:
        return -1
