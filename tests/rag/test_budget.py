"""Baselines at equal revealed tokens."""

from collections import Counter
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from retrieval_lens.errors import InputError
from retrieval_lens.rag import bm25_spans, random_spans
from retrieval_lens.rag.budget import _scores

TEXTS = [
    "Rain fell on the old harbour.",
    "Curie won the prize; Curie was first.",
    "Bread is cheap.",
    "The prize was announced in a very long letter to every member of the old academy.",
    "Curie slept.",
]
SPANS = [(10, 16), (16, 26), (26, 29), (29, 45), (45, 48)]


def bm25_by_loops(query, docs, k1=1.5, b=0.75):
    """Lucene's formula; the factor k1 + 1 is not in it."""
    mean = sum(len(doc) for doc in docs) / len(docs)
    scores = []
    for doc in docs:
        score = 0.0
        for word in query:
            df = sum(word in other for other in docs)
            if df:
                idf = log(1 + (len(docs) - df + 0.5) / (df + 0.5))
                tf = doc.count(word)
                score += idf * tf / (tf + k1 * (1 - b + b * len(doc) / mean))
        scores.append(score)
    return scores


def test_scores_are_bm25():
    docs = [
        ["rain", "fell", "old", "harbour"],
        ["curie", "won", "prize", "curie", "first"],
        ["bread", "cheap"],
        ["prize", "announced", "very", "long", "letter", "every", "member", "old", "academy"],
        ["curie", "slept"],
    ]
    expected = bm25_by_loops(["curie", "win", "prize"], docs)
    np.testing.assert_allclose(_scores("Did Curie win the prize?", TEXTS)[[0, 2]], 0)
    np.testing.assert_allclose(
        _scores("Curie win the prize?", TEXTS), expected, rtol=1e-6, atol=1e-12
    )


def test_bm25_spans_in_order_of_rank():
    # The second sentence has two words of the query, one of them twice; the last is the shortest
    # with one; then the fourth.
    assert bm25_spans("Curie's prize", SPANS, TEXTS, 4) == [(16, 20)]
    assert bm25_spans("Curie's prize", SPANS, TEXTS, 10) == [(16, 26)]
    assert bm25_spans("Curie's prize", SPANS, TEXTS, 12) == [(16, 26), (45, 47)]
    assert bm25_spans("Curie's prize", SPANS, TEXTS, 15) == [(16, 26), (29, 31), (45, 48)]
    assert bm25_spans("Curie's prize", SPANS, TEXTS, 38) == [(10, 48)]
    assert bm25_spans("Curie's prize", SPANS, TEXTS, 0) == []


@pytest.mark.parametrize("query", ["xylophone", "", "the of", "!"])
def test_a_query_without_known_words_gives_the_start(query):
    assert bm25_spans(query, SPANS, TEXTS, 8) == [(10, 18)]


def test_sentences_without_words():
    assert bm25_spans("Curie", [(0, 2), (2, 3)], ["...", "the"], 2) == [(0, 2)]
    assert bm25_spans("Curie", [], [], 0) == []


def test_a_shared_token_counts_once():
    spans = [(0, 5), (4, 9)]
    assert bm25_spans("bread", spans, ["Rain fell.", "Bread rose."], 7) == [(0, 2), (4, 9)]


def test_bm25_spans_refused():
    with pytest.raises(InputError, match="n_tokens=39, but the sentences have 38"):
        bm25_spans("Curie", SPANS, TEXTS, 39)
    with pytest.raises(InputError, match="4 spans for 5 sentences"):
        bm25_spans("Curie", SPANS[1:], TEXTS, 3)
    with pytest.raises(InputError, match="span of a sentence is empty"):
        bm25_spans("Curie", [(3, 3)], ["Curie"], 0)
    with pytest.raises(InputError, match="n_tokens is a whole number from 0"):
        bm25_spans("Curie", SPANS, TEXTS, -1)


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(0, 30), st.integers(0, 999))
def test_random_spans(lengths, free, seed):
    context = (5, 5 + sum(lengths) + free + (not lengths and not free))
    spans = random_spans(context, lengths, seed)
    assert Counter(end - start for start, end in spans) == Counter(lengths)
    edges = [context[0], *(edge for one in spans for edge in one), context[1]]
    assert edges == sorted(edges)
    assert spans == random_spans(context, lengths, seed)


def test_every_place_is_equally_likely():
    # Windows of 1 and 2 tokens among 5: 2 orders, and 6 ways to spread the 2 free tokens.
    counts = Counter(tuple(random_spans((0, 5), [1, 2], seed)) for seed in range(3000))
    assert len(counts) == 12
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_random_spans_refused():
    with pytest.raises(InputError, match="windows of 6 tokens do not fit in"):
        random_spans((0, 5), [3, 3], 0)
    with pytest.raises(InputError, match="a length is a whole number from 1"):
        random_spans((0, 5), [0], 0)
    with pytest.raises(InputError, match="seed is a whole number from 0"):
        random_spans((0, 5), [1], None)
    with pytest.raises(InputError, match="context is empty"):
        random_spans((5, 5), [], 0)
