"""What sections are made of: a heading, a text and a figure, and numbers as texts.

A part is what `viz.page` takes. Tables are DataFrames, which it escapes; headings and texts are
escaped by it too.
"""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from retrieval_lens.viz.labels import clip, visible

Part = tuple[str, str | None, Any]
RUN, AGAIN = "What was run", "Make it again"


_ROUNDING = 1e-9


def with_interval(value: Any, low: Any, high: Any) -> str:
    """A value and its interval, where it has one that holds it.

    Examples:
        >>> with_interval(0.5, 0.25, 0.75), with_interval(0.5, float("nan"), 0.75)
        ('0.500 (0.250 to 0.750)', '0.500')
        >>> with_interval(13.3, 9.6, 12.9)
        '13.300'
    """
    if value != value:
        return ""
    if low != low or high != high or is_outside(value, low, high):
        return number(value)
    return f"{number(value)} ({number(low)} to {number(high)})"


def is_outside(value: Any, low: Any, high: Any) -> bool:
    """Whether a bootstrap interval leaves out its own value, and so is no guide to it.

    That happens to what grows with the number of different responses: a resample has fewer.

    Examples:
        >>> is_outside(13.3, 9.6, 12.9), is_outside(0.5, float("nan"), float("nan"))
        (True, False)
    """
    slack = _ROUNDING * max(1.0, abs(float(value)))
    return bool(value < low - slack or value > high + slack)


def number(value: Any) -> str:
    """Three decimals, and no minus before a zero.

    Examples:
        >>> number(-0.0001), number(-0.25)
        ('0.000', '-0.250')
    """
    return f"{round(float(value), 3) + 0.0:.3f}"


def facts(rows: Mapping[str, Any]) -> Any:
    """Names and their values as a table; what is None is left out.

    Examples:
        >>> facts({"dtype": "float32", "revision": None}).to_dict()
        {'': {'dtype': 'float32'}}
    """
    return pd.DataFrame({"": {name: str(one) for name, one in rows.items() if one is not None}})


def sent(text: str) -> str:
    """A name as it may be sent to others: of an absolute path its last part.

    Examples:
        >>> sent("/home/ann/models/mine"), sent("Qwen/Qwen2.5-0.5B")
        ('mine', 'Qwen/Qwen2.5-0.5B')
    """
    path = Path(text)
    return path.name if path.is_absolute() else text


class Code(pd.DataFrame):
    """Lines to be copied, as a figure of `viz.page`: it lets a table write itself."""

    @classmethod
    def of(cls, text: str) -> "Code":
        """The lines of a text."""
        return cls({"line": text.split("\n")})

    def to_html(self, *_: Any, **__: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The lines as they are, escaped."""
        return f"<pre><code>{html.escape(chr(10).join(self['line']))}</code></pre>"


def shown(text: Any, most: int = 300) -> str:
    r"""Text of a model or of a file: what is invisible spelled out, cut to `most` characters.

    Examples:
        >>> shown("one\ntwo"), shown(None)
        ('one⏎two', '')
    """
    return clip(visible(text, spaces=False), most) if isinstance(text, str) else ""


def counted(n: int, noun: str) -> str:
    """A number and its noun.

    Examples:
        >>> counted(1, "question"), counted(20, "question")
        ('1 question', '20 questions')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def paragraphs(*texts: str) -> str:
    """Texts as paragraphs; empty ones are left out."""
    return "\n\n".join(filter(None, texts))
