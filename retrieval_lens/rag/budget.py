"""Baselines that reveal as many tokens as the windows of the heads do.

1. `bm25_spans` ranks the sentences of the context by BM25 against a query and shows them in that
   order, the last one in part, until the number of tokens is reached.
2. `random_spans` puts windows of given lengths at random places.

BM25 is that of the library bm25s (Lucene's variant, k1 = 1.5, b = 0.75) with its English stop words
and without stemming.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from retrieval_lens.errors import InputError
from retrieval_lens.rag.checks import span, whole
from retrieval_lens.rag.windows import Span, merged

TERM = r"(?u)\b\w+\b"


def bm25_spans(
    query: str, sentence_token_spans: Sequence[Any], sentence_texts: Sequence[str], n_tokens: Any
) -> list[Span]:
    """The first `n_tokens` tokens of the sentences that BM25 ranks highest.

    Sentences of equal score come in the order of the text. So a query of which no word is in the
    text gives the start of the text.

    Args:
        query: Such as the question and the answer so far.
        sentence_token_spans: Half-open span of tokens of each sentence; a token that two share
            counts once.
        sentence_texts: The same sentences.
        n_tokens: How many tokens to show.

    Returns:
        Half-open spans, ascending, apart from each other; together exactly `n_tokens` tokens.

    Raises:
        InputError: Spans and texts that do not match, an empty span, or more tokens asked for than
            the sentences have.

    Examples:
        >>> texts = ["Rain fell.", "Curie won twice.", "Bread is cheap."]
        >>> bm25_spans("Who was Curie?", [(0, 3), (3, 8), (8, 12)], texts, 6)
        [(0, 1), (3, 8)]
    """
    budget = whole("n_tokens", n_tokens, 0)
    spans = [span("the span of a sentence", one) for one in sentence_token_spans]
    if len(spans) != len(sentence_texts):
        raise InputError(f"got {len(spans)} spans for {len(sentence_texts)} sentences")
    available = sum(end - start for start, end in merged(spans))
    if budget > available:
        raise InputError(
            f"n_tokens={budget}, but the sentences have {available} tokens; wanted spans that "
            f"cover the context without gaps"
        )
    shown: dict[int, None] = {}
    for i in np.argsort(-_scores(query, sentence_texts), kind="stable"):
        shown.update(dict.fromkeys(range(*spans[i])))
    return merged([(position, position + 1) for position in list(shown)[:budget]])


def random_spans(context: Any, lengths: Sequence[Any], seed: Any) -> list[Span]:
    """Windows of these lengths at random places of the context that do not overlap.

    Every order of the windows and every way to place them is equally likely. They may touch.

    Args:
        context: Half-open span of tokens.
        lengths: Of the windows, each from 1.
        seed: Of the draw; the same seed gives the same places.

    Returns:
        Half-open spans, ascending, one a window.

    Raises:
        InputError: An empty context, windows that do not fit in, or a number out of range.

    Examples:
        >>> random_spans((10, 50), [5, 8], seed=0)
        [(34, 39), (42, 50)]
    """
    start, end = span("context", context)
    order = [whole("a length", length, 1) for length in lengths]
    draw = Random(whole("seed", seed, 0))
    free = end - start - sum(order)
    if free < 0:
        raise InputError(f"windows of {sum(order)} tokens do not fit in {(start, end)}")
    draw.shuffle(order)
    places = sorted(draw.sample(range(free + len(order)), len(order)))
    spans = []
    for i, (place, length) in enumerate(zip(places, order, strict=True)):
        begin = start + place - i + sum(order[:i])
        spans.append((begin, begin + length))
    return spans


def _scores(query: str, texts: Sequence[str]) -> np.ndarray:
    """BM25 of each text; all 0 where there is no word to compare."""
    import logging

    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # importing it asks for every detail
    asked, *words = bm25s.tokenize(
        [query, *texts], token_pattern=TERM, return_ids=False, show_progress=False
    )
    known = {word for text in words for word in text}
    asked = [word for word in asked if word in known]
    if not asked:
        return np.zeros(len(texts))
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene", dtype="float64")
    index.index(words, show_progress=False)
    return np.asarray(index.get_scores(asked))
