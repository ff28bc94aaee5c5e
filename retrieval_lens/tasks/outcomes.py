"""What became of a response, in one word."""

import re
from difflib import SequenceMatcher

from retrieval_lens.tasks.qa_metrics import holds_answer, normalize_answer

OUTCOMES = ("exact", "partial", "fluent_wrong", "refusal", "truncated")
_REFUSAL = re.compile(
    r"\b(i (do not|don't|cannot|can't|could not|couldn't|am unable|am not able)"
    r"|i'm (sorry|unable|not)|no (mention|information)|unknown|not sure"
    r"|(is|was|does|do|are)(n't| not) "
    r"(mentioned|stated|given|provided|specified|contain|say|know|found|in the))\b",
    re.IGNORECASE,
)


def response_outcome(answer: str, response: str, truncated: bool, *, words: bool = False) -> str:
    """What became of a response: the first of these that fits.

    | outcome | the response |
    |---|---|
    | `exact` | holds the whole answer |
    | `truncated` | was cut by the token limit while it was writing the answer, right so far |
    | `partial` | holds a piece of the answer that chance does not give |
    | `refusal` | says that it does not know |
    | `fluent_wrong` | anything else: text that goes its own way |

    The piece must be a quarter of the answer, and at least four characters, in one run: two random
    UUIDs hardly ever share nine characters in a row.

    The answer to a question in words (`words=True`) is compared in words: case, punctuation and
    articles do not count, "no" does not stand in "know", and a piece is one of its words of at
    least four letters.

    Args:
        answer: What a right response holds; "" where there is none.
        response: The generated text.
        truncated: Whether generation ran into its limit.
        words: Compare words, as for multi-hop questions; else characters, as for needles.

    Examples:
        >>> response_outcome("amber otter candle", "It was called amber otter", True)
        'truncated'
        >>> response_outcome("amber otter candle", "It was the amber otter of old.", False)
        'partial'
        >>> response_outcome("amber otter candle", "I don't know.", False)
        'refusal'
        >>> response_outcome("no", "No, they are not.", False, words=True)
        'exact'
    """
    if holds_answer(response, answer) if words else answer and answer in response:
        return "exact"
    if words:
        answer, response = answer.lower(), response.lower()
    enough = max(4, -(-len(answer) // 4))
    if truncated and _ends_inside(answer, response, enough):
        return "truncated"
    if _has_word(answer, response) if words else _has_piece(answer, response, enough):
        return "partial"
    return "refusal" if _REFUSAL.search(response.replace("\u2019", "'")) else "fluent_wrong"


def _has_piece(answer: str, response: str, enough: int) -> bool:
    match = SequenceMatcher(None, answer, response, autojunk=False).find_longest_match()
    return bool(answer) and match.size >= min(enough, len(answer))


def _has_word(answer: str, response: str) -> bool:
    given = normalize_answer(response).split()
    return any(len(word) >= 4 and word in given for word in normalize_answer(answer).split())


def _ends_inside(answer: str, response: str, enough: int) -> bool:
    """Whether the response's last characters are the answer's first, and enough of them."""
    return any(response.endswith(answer[:n]) for n in range(enough, len(answer)))
