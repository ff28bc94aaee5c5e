"""What the fields of a grid may hold, and how values name files."""

from pathlib import Path
from typing import Any

from retrieval_lens.errors import InputError


def several(value: Any) -> tuple[Any, ...]:
    """A tuple; a single value becomes a tuple of one."""
    if isinstance(value, str | Path) or not hasattr(value, "__iter__"):
        return (value,)
    return tuple(value)


def whole_numbers(name: str, value: Any) -> tuple[int, ...]:
    """A tuple of whole numbers, or a refusal that names the field."""
    found = several(value)
    for one in found:
        if isinstance(one, bool) or not hasattr(one, "__index__"):
            raise InputError(f"{name} holds whole numbers; got {one!r}")
    return tuple(one.__index__() for one in found)


def slug(name: str) -> str:
    """The name of a haystack or a model in file names.

    Examples:
        >>> slug("coast"), slug("/data/my essays.txt")
        ('coast', 'my_essays.txt')
    """
    return "".join(c if c.isalnum() or c in ".-_" else "_" for c in Path(name).name)
