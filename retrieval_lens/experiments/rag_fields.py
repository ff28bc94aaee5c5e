"""What the fields of a grid of answers may hold, and what its strategies are made from."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.grid import Grid
from retrieval_lens.rag.rind import RIND
from retrieval_lens.rag.settings import Settings
from retrieval_lens.rag.strategies import strategy_named

FILES = {"probe": "probe", "like": "probe", "heads": "static"}  # what fields of a strategy need
MADE_BY = {
    "probe": 'train_probe(traces, kind="regressor", score="reasoning").save(…)',
    "static": 'static_heads(traces, k=None, score="reasoning").save(…)',
}


def needs_of(name: str) -> set[str]:
    """What a strategy is made from."""
    return {field.name for field in fields(strategy_named(name))}  # pyright: ignore


def files_of(grid: Grid, name: str) -> Any:
    """A path, a path for each model, or None where none is given.

    Raises:
        InputError: No path, or not one for each model.
    """
    value = getattr(grid, name)
    if isinstance(value, dict):
        if set(value) != set(grid.models):
            raise InputError(
                f"{name} names {sorted(value)}, the models are {list(grid.models)}: give a file "
                f"for each"
            )
        return {model: str(file) for model, file in value.items()}
    if value is None:
        return None
    if not isinstance(value, str | Path):
        raise InputError(f"{name} is the path of a file; got {value!r}")
    if len(grid.models) > 1:
        raise InputError(f"with several models, {name} is {{model: file}}")
    return str(value)


def settings_of(value: Any, threshold: Any) -> Settings:
    """The settings, `threshold` in place of theirs unless it is None.

    Raises:
        InputError: Neither `rag.Settings` nor a dict, or a value out of range.
        UnknownNameError: A field that they do not have.
    """
    if isinstance(value, Settings):
        value = value.as_json()
    if not isinstance(value, dict):
        raise InputError(f"settings is a rag.Settings or a dict of its fields; got {value!r}")
    rind = value.get("rind", {})
    rind = asdict(rind) if isinstance(rind, RIND) else rind
    if not isinstance(rind, dict):
        raise InputError(f"rind is a rag.RIND or a dict of its fields; got {rind!r}")
    for kind, given in ((Settings, value), (RIND, rind)):
        known = [field.name for field in fields(kind)]
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise UnknownNameError(
                f"{kind.__name__} has no {unknown[0]!r}; it has: {', '.join(known)}"
            )
    rind = rind if threshold is None else rind | {"threshold": threshold}
    return Settings(**{**value, "rind": RIND(**rind)})
