"""Sentences of a text, by rule.

1. A line break ends a sentence.
2. So does white space behind ".", "!" or "?" (closing quotes and brackets may stand between), but
   not behind an abbreviation ("Dr.", "No. 5"), initials ("J. R.", "U.S.") or the number that opens
   an item of a list ("1. Paris").
3. White space belongs to the sentence before it.

An abbreviation that does end its sentence ("in the U.S. He left") is not noticed: the two sentences
stay one.
"""

import re

from retrieval_lens.tasks.needle import SENTENCE_END

ABBREVIATION = re.compile(
    r"adm|approx|bros|ca|capt|cf|co|col|corp|dept|dr|esp|est|etc|fr|ft|gen|gov|hon|inc|jr|lt|ltd|"
    r"maj|messrs|mr|mrs|ms|mt|mts|pres|prof|rep|rev|sen|sgt|sr|st|ste|viz|vs",
    re.IGNORECASE,
)
BEFORE_NUMBER = re.compile(
    r"apr|art|aug|ch|dec|feb|figs?|jan|jul|jun|mar|nos?|nov|oct|pp?|sec|sept|vols?", re.IGNORECASE
)
INITIALS = re.compile(r"[A-Z]|(?:[A-Za-z]\.)+[A-Za-z]")
OPENING = "\"'([{“‘«*_"


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Half-open character spans of the sentences; together they are the whole text.

    Args:
        text: Any text; an empty one has no sentence.

    Examples:
        >>> sentence_spans("Dr. Lee paid $3.50. Why? ")
        [(0, 20), (20, 25)]
    """
    ends = {match.end() for match in SENTENCE_END.finditer(text)}
    breaks = [0]
    for gap in re.finditer(r"\s+", text):
        start, end = gap.span()
        if start == 0 or end == len(text):
            continue
        if "\n" in gap.group() or (start in ends and not _goes_on(text, breaks[-1], start, end)):
            breaks.append(end)
    if not text:
        return []
    return list(zip(breaks, [*breaks[1:], len(text)], strict=True))


def _goes_on(text: str, begin: int, stop: int, following: int) -> bool:
    """Whether the "." at the end of `text[begin:stop]` is not the end of the sentence."""
    sentence = text[begin:stop].lstrip()
    word = sentence.split()[-1].lstrip(OPENING)
    if not word.endswith("."):
        return False
    stem = word[:-1]
    if ABBREVIATION.fullmatch(stem) or INITIALS.fullmatch(stem):
        return True
    if BEFORE_NUMBER.fullmatch(stem):
        return text[following].isdigit()
    return stem.isdigit() and sentence.lstrip(OPENING) == word
