"""What the parts of Dynamic RAG accept as a whole number and as a span."""

from operator import index
from typing import Any

from retrieval_lens.errors import InputError


def whole(name: str, value: Any, least: int) -> int:
    """`value` as a whole number from `least`.

    Raises:
        InputError: It is none.

    Examples:
        >>> whole("gap", 8, 0)
        8
    """
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InputError(f"{name} is a whole number from {least}; got {value!r}")
    return number


def span(name: str, value: Any) -> tuple[int, int]:
    """`value` as a half-open span (start, end) that holds something.

    Raises:
        InputError: No pair of whole numbers with 0 <= start < end.

    Examples:
        >>> span("context", (2, 5))
        (2, 5)
    """
    try:
        start, end = (whole(name, one, 0) for one in value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is a span (start, end) from 0; got {value!r}") from error
    if start >= end:
        raise InputError(f"{name} is empty: wanted start < end; got {value!r}")
    return start, end
