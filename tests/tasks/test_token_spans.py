import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_lens.errors import EvidenceError, InputError
from retrieval_lens.tasks import find_span, positions_of, tokenize
from tests.tokenizers_at_hand import FAMILIES, tokenizer

WORDS = st.text(st.sampled_from("abcdefgh -.,'0123"), min_size=1, max_size=12)
ANY = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)


def letters(text: str) -> str:
    """What a lower-casing, space-dropping tokenizer keeps of a text."""
    return re.sub(r"\s+", "", text.lower())


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(before=WORDS, evidence=WORDS, after=WORDS)
def test_tokens_spell_the_evidence_and_none_is_superfluous(family, before, evidence, after):
    text = f"{before} {evidence} {after}"
    span = (len(before) + 1, len(before) + 1 + len(evidence))
    if not evidence.strip():
        with pytest.raises(EvidenceError):
            find_span(text, span)
        return
    tok = tokenizer(family)
    ids, offsets = tokenize(tok, text)
    found = positions_of(offsets, [span], text).tolist()
    assert found == list(range(found[0], found[-1] + 1))
    assert letters(evidence) in letters(tok.decode(ids[found[0] : found[-1] + 1]))
    visible = [i for i in range(*span) if not text[i].isspace()]
    for position in (found[0], found[-1]):
        assert offsets[position][0] < span[1] and offsets[position][1] > span[0]
    for position, (start, end) in enumerate(offsets):
        if any(start <= i < end for i in visible):
            assert position in found


@settings(max_examples=150, deadline=None)
@given(before=ANY, evidence=ANY, after=ANY)
def test_byte_level_pieces_of_any_character_belong_to_it(before, evidence, after):
    text = before + evidence + after
    if not evidence.strip():
        return
    tok = tokenizer("byte_level_bpe")
    ids, offsets = tokenize(tok, text)
    found = positions_of(offsets, [(len(before), len(before) + len(evidence))], text)
    decoded = tok.decode(ids[found[0] : found[-1] + 1])
    assert evidence.strip() in decoded


def test_a_token_on_the_border_belongs_to_both_sides():
    assert positions_of([(0, 3), (3, 9), (9, 12)], [(5, 10)]).tolist() == [1, 2]
    assert positions_of([(0, 3), (3, 9), (9, 12)], [(0, 4)]).tolist() == [0, 1]
    assert positions_of([(0, 3), (3, 9), (9, 12)], [(9, 12), (0, 1)]).tolist() == [0, 2]


def test_special_tokens_without_characters_belong_to_nothing():
    assert positions_of([(0, 0), (0, 3), (3, 3)], [(0, 3)]).tolist() == [1]


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ("a dog", "is not in the prompt"),
        ("the", "more than once, at characters 0 and 12"),
        ("", "evidence is empty"),
        ("  ", "evidence is empty"),
        ((3, 3), "0 <= start < end <= 19"),
        ((0, 20), "0 <= start < end <= 19"),
        ((-2, 3), "0 <= start < end"),
        ((3, 4), "nothing but white space"),
    ],
)
def test_evidence_that_cannot_be_located(evidence, message):
    with pytest.raises(EvidenceError, match=message):
        find_span("the cat and the mat", evidence)


def test_characters_without_a_token_are_noticed():
    with pytest.raises(EvidenceError, match="1 characters of the evidence, the first at 3"):
        positions_of([(0, 3), (4, 7)], [(0, 7)], "abcdefg")
    with pytest.raises(EvidenceError, match="no token covers"):
        positions_of([(0, 3)], [(5, 7)])


def test_a_tokenizer_without_offsets_is_refused():
    with pytest.raises(InputError, match="returns offsets"):
        tokenize(object(), "text")
    with pytest.raises(InputError, match="gives no token"):
        tokenize(tokenizer("byte_level_bpe"), "")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("Wallnut street", "Walnut Street"),
        ("the Walnut street.", "on Walnut Street"),
        ("cardamon", "Cardamom"),
        ("he ate nothing at all", None),
    ],
)
def test_the_nearest_words_are_named(wrong, meant):
    text = "Tom parks on Walnut Street. (Cardamom is a spice, and cardamom it stays.)"
    with pytest.raises(EvidenceError) as refused:
        find_span(text, wrong)
    said = str(refused.value)
    assert (f"Did you mean {meant!r}?" in said) if meant else ("Did you mean" not in said)
