"""Which words carry content: RIND fires on these alone.

1. `stop_words`: a word with a letter or digit that is not in scikit-learn's list of English stop
   words, with its punctuation and a clitic ("it's", "don't") taken off.
2. `spacy`: a word that overlaps a noun, adjective, verb, proper noun or number which spaCy does not
   call a stop word.
3. `all`: every word.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from retrieval_lens.errors import InputError
from retrieval_lens.rag.words import Word

PIPELINE = "en_core_web_sm"
CONTENT_TAGS = ("NOUN", "ADJ", "VERB", "PROPN", "NUM")
EDGES = re.compile(r"^[\W_]+|[\W_]+$")
CLITIC = re.compile(r"(?:n't|'(?:s|re|ve|ll|d|m))$")

Filter = Callable[[str, Sequence[Word]], list[bool]]


def stop_words(text: str, words: Sequence[Word]) -> list[bool]:
    """Whether each word is none of scikit-learn's stop words.

    Examples:
        >>> stop_words("The cat's", [Word("The", 0, 1, 0), Word("cat's", 1, 3, 4)])
        [False, True]
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    plain = [EDGES.sub("", word.text.lower().replace("\u2019", "'")) for word in words]
    return [bool(word) and not {word, CLITIC.sub("", word)} & ENGLISH_STOP_WORDS for word in plain]


def spacy_words(text: str, words: Sequence[Word]) -> list[bool]:
    """Whether each word overlaps a content word of spaCy's small English pipeline.

    Raises:
        InputError: spaCy or the pipeline is not installed.
    """
    require_spacy()
    kept = [
        (token.idx, token.idx + len(token.text))
        for token in _pipeline()(text)
        if token.pos_ in CONTENT_TAGS and not token.is_stop
    ]
    return [
        any(start < word.at + len(word.text) and word.at < end for start, end in kept)
        for word in words
    ]


def all_words(text: str, words: Sequence[Word]) -> list[bool]:
    """True for each word."""
    return [True] * len(words)


FILTERS: dict[str, Filter] = {"stop_words": stop_words, "spacy": spacy_words, "all": all_words}


def require_spacy() -> None:
    """Refuse to go on without spaCy and its small English pipeline.

    Raises:
        InputError: One of them is not installed; the message says how to.
    """
    missing = [name for name in ("spacy", PIPELINE) if find_spec(name) is None]
    if missing:
        raise InputError(
            f'words="spacy" needs {" and ".join(missing)}: pip install spacy, then python -m spacy '
            f'download {PIPELINE}; or take words="stop_words"'
        )


@cache
def _pipeline() -> Any:
    from importlib import import_module

    return import_module("spacy").load(PIPELINE)
