"""Answers scored as HotpotQA's official script does, and how an answer is taken from a response.

1. Normalised: lower case, ASCII punctuation out, the words a, an, the out, white space to one.
2. Exact match: both normalised texts are equal.
3. F1, precision and recall count words that both share, as often as both have them. If either side
   is yes, no or noanswer and the other is not the same, all three are 0.
4. `extract_answer` finds the answer in a response; its rules stand with it.

Source: arXiv 1809.09600 and its evaluation script.
"""

import re
import string
from collections import Counter

from retrieval_lens.tasks.example import RetrievalExample

CLOSED = ("yes", "no", "noanswer")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NEXT_QUESTION = re.compile(r"^\s*(?:question|context|instruction)\s*:", re.I | re.M)
_MARKER = re.compile(
    r"\banswer(?: to [^.?!\n]{1,200}?)? is\b\s*:?\s*|^\W*(?:the )?(?:final )?answer\s*:\s*",
    re.I | re.M,
)
# not "No. 3", a number, and not "No-hitter", one word
_YES_NO = re.compile(r"(?:yes|no)(?=\s*(?:[,;:!?\u2013\u2014]|\.(?!\s*\d)|-(?=[\s-]|$)|$))", re.I)
_SENTENCE_END = re.compile(r"(\w*)([.!?])[\"')\]*\u201d\u2019]*(?=\s|$)")
# what comes before the rest of a name, and what closes one or stands behind a number
_TITLE = re.compile(r"approx|capt|col|dr|gen|lt|maj|mrs?|ms|mt|prof|rev|sgt|st|vs?", re.I)
_CLOSER = re.compile(
    r"co|corp|ft|inc|jr|ltd|sr|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec", re.I
)
_OPENER = re.compile(r"\s+(?:He|It|Its|She|That|The|There|These|They|This|Those)\s")
_NAME_GOES_ON = re.compile(r"\s+(?:[a-z]|(?:Co|Corp|Inc|Ltd)\b)")
_QUOTES = string.whitespace + "\"'*`\u201c\u201d\u2018\u2019"


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and needless white space.

    Examples:
        >>> normalize_answer("The  Orle-Bay Line, a ferry.")
        'orlebay line ferry'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> float:
    """1.0 if both are the same once normalised, else 0.0.

    Examples:
        >>> exact_match("the Orle.", "Orle")
        1.0
    """
    return float(normalize_answer(prediction) == normalize_answer(answer))


def precision_recall(prediction: str, answer: str) -> tuple[float, float]:
    """Share of the prediction's words that are the answer's, and the other way round.

    Examples:
        >>> precision_recall("the old port of Orle", "Orle port")
        (0.5, 1.0)
    """
    ours, theirs = normalize_answer(prediction), normalize_answer(answer)
    if ours != theirs and (ours in CLOSED or theirs in CLOSED):
        return 0.0, 0.0
    shared = sum((Counter(ours.split()) & Counter(theirs.split())).values())
    if not shared:
        return 0.0, 0.0
    return shared / len(ours.split()), shared / len(theirs.split())


def f1(prediction: str, answer: str) -> float:
    """Harmonic mean of `precision_recall`, 0.0 where nothing is shared.

    Examples:
        >>> f1("yes", "no"), f1("the Orle river", "Orle")
        (0.0, 0.6666666666666666)
    """
    precision, recall = precision_recall(prediction, answer)
    return 2 * precision * recall / (precision + recall) if precision else 0.0


def holds_answer(text: str, answer: str) -> bool:
    """Whether the answer's words stand in the text, in one run, once both are normalised.

    Examples:
        >>> holds_answer("I know the Orle.", "no"), holds_answer("It is the Orle, then.", "orle")
        (False, True)
    """
    words = normalize_answer(answer)
    return words != "" and f" {words} " in f" {normalize_answer(text)} "


def accepted_answers(example: RetrievalExample) -> list[str]:
    """The answer of an example and the aliases in its `meta`, any of which is right.

    Examples:
        ```python
        rl.tasks.qa_metrics.accepted_answers(example)
        ```
    """
    return [example.answer, *(example.meta.get("answer_aliases") or ())]


def extract_answer(response: str) -> str:
    """The answer in a response, whether it is a phrase or a sentence.

    1. What follows a line that begins with "Question:", "Context:" or "Instruction:" is dropped:
       a base model goes on with a prompt of its own.
    2. After the first "answer is" or a line's "Answer:", what follows it; else the whole.
    3. Of that the first line with text. A line that begins with yes or no and a punctuation mark,
       or is nothing else, is that word; "No. 3" and "No-hitter" are not.
    4. Of that the first sentence, without quotation marks, asterisks and the punctuation after it.
       Titles such as "St." end none, nor does "No." before a digit, nor "!" before a small letter
       or "Inc.". Initials, months and "Inc." end one only before a word such as "It" or "The".

    Examples:
        >>> extract_answer("The ferry is older, so the answer is the Orle Line. It ran daily.")
        'the Orle Line'
        >>> extract_answer("Yes, both are towns.")
        'Yes'
    """
    cut = _NEXT_QUESTION.search(response)
    text = response[: cut.start()] if cut else response
    if marker := _MARKER.search(text):
        text = text[marker.end() :]
    line = next((line for line in text.splitlines() if line.strip(_QUOTES)), "").strip(_QUOTES)
    if closed := _YES_NO.match(line):
        return closed[0]
    return line[: _first_end(line)].strip(_QUOTES).rstrip(".,;:!?" + _QUOTES)


def _first_end(line: str) -> int:
    ends = (match.end() for match in _SENTENCE_END.finditer(line) if _ends(match, line))
    return next(ends, len(line))


def _ends(match: re.Match[str], line: str) -> bool:
    word, mark, end = match[1], match[2], match.end()
    if mark != ".":
        return not (mark == "!" and _NAME_GOES_ON.match(line, end))
    if (len(word) == 1 and word.isupper()) or _CLOSER.fullmatch(word):
        return _OPENER.match(line, end) is not None
    if word.lower() in ("no", "nos"):
        return not line[end:].lstrip()[:1].isdigit()
    return _TITLE.fullmatch(word) is None
