"""Sentences: every character in one of them, and no cut behind an abbreviation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_lens.rag import sentence_spans


def split(text):
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rained. ", "Why? ", "No! ", "Then it stopped."],
        ['"Stop!" ', "(He did.) ", "Then he left.\n", "Line two\n\n", "Line three "],
        ["Dr. Lee met J. R. Smith of St. Ives in the U.S. Army. ", "He left at 5 p.m. sharp."],
        ["It cost 3.50, or No. 5 of vol. 2. ", "No. ", "Really?! ", "Yes... ", "So be it."],
        ["1. Paris is big.\n", "2. Rome is old. ", "It fell in 476. ", "Then came others."],
        ["  Leading space. ", "Mr.\n", "A line break always ends it. "],
        [" \n"],
        [],
    ],
)
def test_by_hand(sentences):
    assert split("".join(sentences)) == sentences


@given(st.text(alphabet="aB1 .!?\n\"'", max_size=40))
def test_nothing_is_lost_and_no_word_is_cut(text):
    parts = split(text)
    assert "".join(parts) == text
    assert all(part[-1].isspace() and not part.isspace() for part in parts[:-1])
