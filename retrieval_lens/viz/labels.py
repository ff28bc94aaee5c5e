"""Token text as a reader should see it, and safe in figures.

1. A token is made *visible*: a newline is `⏎`, a tab `⇥`, a space at either end `␣`, half a
   character stays the replacement character `�`; control and direction marks, which would be
   invisible or turn the text around them over, are spelled `⟨U+202E⟩`.
2. It is *clipped* where it labels an axis.
3. It is *escaped* last: Plotly and CircuitsVis read text as HTML, so `<b>` would vanish, and a
   `</script>` run.
"""

import html
import textwrap
import unicodedata
from collections.abc import Iterable

SPELLED = {"\n": "⏎", "\t": "⇥"}
JOINERS = "\u200c\u200d"  # part of Persian and Indic words and of composed emoji
HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _visible_character(character: str) -> str:
    if character in SPELLED:
        return SPELLED[character]
    if unicodedata.category(character) in HIDDEN_CATEGORIES and character not in JOINERS:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def visible(text: str, spaces: bool = True) -> str:
    r"""Show what would be invisible in a token; not yet escaped.

    With `spaces=False`, for running text, spaces beside other characters stay spaces.

    Examples:
        >>> visible(" word"), visible("\n\n"), visible("a b"), visible("\u202e"), visible("")
        ('␣word', '⏎⏎', 'a b', '⟨U+202E⟩', '∅')
    """
    shown = "".join(map(_visible_character, text))
    start, end = len(shown) - len(shown.lstrip(" ")), len(shown.rstrip(" "))
    if start == len(shown):
        return "␣" * start or "∅"
    if spaces:
        shown = "␣" * start + shown[start:end] + "␣" * (len(shown) - end)
    if unicodedata.category(shown[0]).startswith("M"):
        shown = "◌" + shown
    return f"⟨U+{ord(shown):04X}⟩" if shown in tuple(JOINERS) else shown


def clip(text: str, max_chars: int) -> str:
    """Cut a text to `max_chars` characters, the last of them `…` where something was cut.

    Examples:
        >>> clip("retrieval", 6), clip("short", 6)
        ('retri…', 'short')
    """
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def escape(text: str) -> str:
    """Escape a text for Plotly and CircuitsVis, which read HTML.

    Quotes stay, since the text never goes in an attribute. The dollar is escaped too: where a page
    has MathJax, Plotly would set what stands between two of them as a formula.

    Examples:
        >>> escape("<b> & $x$")
        '&lt;b&gt; &amp; &#36;x&#36;'
    """
    return html.escape(text, quote=False).replace("$", "&#36;")


def axis_labels(tokens: Iterable[str], max_chars: int = 12) -> list[str]:
    """Labels for one tick a token: visible, clipped and escaped.

    Tokens that repeat keep one label each. Plotly merges equal categories: put the labels on
    numbers, `tickvals=[0, 1, …]`.

    Examples:
        >>> axis_labels([" the", "<s>", "<s>"])
        ['␣the', '&lt;s&gt;', '&lt;s&gt;']
    """
    return [escape(clip(visible(token), max_chars)) for token in tokens]


def lines(text: str, max_chars: int) -> str:
    """Break a title into escaped lines; Plotly does not wrap by itself.

    A line has at most `max_chars` characters, unless one word is longer.

    Examples:
        >>> lines("one two <three>", 8)
        'one two<br>&lt;three&gt;'
    """
    wrapped = [line for part in text.split("\n") for line in textwrap.wrap(part, max_chars)]
    return "<br>".join(map(escape, wrapped))
