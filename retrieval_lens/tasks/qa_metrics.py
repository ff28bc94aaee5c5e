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

CLOSED = ("yes", "no", "noanswer")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NEXT_QUESTION = re.compile(r"^\s*(?:question|context|instruction)\s*:", re.I | re.M)
_MARKER = re.compile(
    r"\banswer(?: to [^.?!\n]{1,200}?)? is\b\s*:?\s*|^\W*(?:the )?(?:final )?answer\s*:\s*",
    re.I | re.M,
)
_YES_NO = re.compile(r"(?:yes|no)(?=\s*(?:[,.;:!?\u2013\u2014-]|$))", re.I)
_SENTENCE_END = re.compile(r"(\w*)[.!?][\"')\]*\u201d\u2019]*(?=\s|$)")
_TITLES = frozenset(("capt", "dr", "gen", "jr", "mr", "mrs", "ms", "prof", "rev", "sr", "st"))
_QUOTES = string.whitespace + "\"'*`\u201c\u201d\u2018\u2019"


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and needless white space.

    Example:
        >>> normalize_answer("The  Orle-Bay Line, a ferry.")
        'orlebay line ferry'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> float:
    """1.0 if both are the same once normalised, else 0.0.

    Example:
        >>> exact_match("the Orle.", "Orle")
        1.0
    """
    return float(normalize_answer(prediction) == normalize_answer(answer))


def precision_recall(prediction: str, answer: str) -> tuple[float, float]:
    """Share of the prediction's words that are the answer's, and the other way round.

    Example:
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

    Example:
        >>> f1("yes", "no"), f1("the Orle river", "Orle")
        (0.0, 0.6666666666666666)
    """
    precision, recall = precision_recall(prediction, answer)
    return 2 * precision * recall / (precision + recall) if precision else 0.0


def holds_answer(text: str, answer: str) -> bool:
    """Whether the answer's words stand in the text, in one run, once both are normalised.

    Example:
        >>> holds_answer("I know the Orle.", "no"), holds_answer("It is the Orle, then.", "orle")
        (False, True)
    """
    words = normalize_answer(answer)
    return words != "" and f" {words} " in f" {normalize_answer(text)} "


def extract_answer(response: str) -> str:
    """The answer in a response, whether it is a phrase or a sentence.

    1. What follows a line that begins with "Question:", "Context:" or "Instruction:" is dropped:
       a base model goes on with a prompt of its own.
    2. After the first "answer is" or a line's "Answer:", what follows it; else the whole.
    3. Of that the first line with text. A line that begins with yes or no and a punctuation mark,
       or is nothing else, is that word.
    4. Of that the first sentence (initials and titles such as "St." end none), without quotation
       marks, asterisks and the punctuation after it.

    Example:
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
    for match in _SENTENCE_END.finditer(line):
        word = match[1]
        if word.lower() not in _TITLES and not (len(word) == 1 and word.isupper()):
            return match.end()
    return len(line)
