"""One attention head, and how it is spelled."""

import re
from typing import NamedTuple

from retrieval_lens.errors import InputError

_SPELLED = re.compile(r"L?(\d+)(?:-?H|[.-])(\d+)")


class Head(NamedTuple):
    """One attention head; printed as `L18H6`.

    Examples:
        >>> str(Head(18, 6)), Head.parse("L18H6") == Head.parse("18-6") == (18, 6)
        ('L18H6', True)
    """

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read `L18H6`, `L18-H6`, `18-6` or `18.6`.

        Raises:
            InputError: Another spelling.
        """
        match = _SPELLED.fullmatch(text.strip())
        if match is None:
            raise InputError(f"a head is spelled L18H6 or 18-6, not {text!r}")
        return cls(int(match[1]), int(match[2]))
