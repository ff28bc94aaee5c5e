"""Words: by decoded characters, whatever the tokenizer's family."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from retrieval_lens.errors import InputError
from retrieval_lens.rag import Word, word_spans
from retrieval_lens.rag.words import decoded
from tests.tokenizers_at_hand import FAMILIES, tokenizer

TEXT = 'The keeper\'s lamp went out, at 10.45 exactly.\n\nNobody, so far, re-lit it: "wait".'


def ids(tokenizer, text):
    return torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])


def triples(words):
    return [(word.text, word.start, word.end) for word in words]


def llama2_like():
    """SentencePiece with bytes for what it has no piece for, as Llama-2 has it."""
    pieces = ["<s>", "▁", "▁born", "1", "9", "▁a", "b", "."]
    vocab = {piece: i for i, piece in enumerate([*pieces, *(f"<0x{i:02X}>" for i in range(256))])}
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    made.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")


def by_piece(tokenizer, *pieces):
    return torch.tensor(tokenizer.convert_tokens_to_ids(list(pieces)))


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_what_white_space_separates(family):
    one = tokenizer(family)
    tokens = ids(one, TEXT if family == "byte_level_bpe" else TEXT.replace("\n\n", " "))
    words = word_spans(one, tokens)
    text = one.decode(tokens, clean_up_tokenization_spaces=False)
    texts = [word.text for word in words]
    assert " ".join(texts).split() == text.split()
    crossing = sum(" " in one.decode(token).strip() for token in tokens)  # one token of two words
    assert len(texts) == len(text.split()) - crossing
    assert crossing == 0 or family == "sentencepiece_bpe"
    assert [one.decode(tokens[word.start : word.end]).strip() for word in words] == texts
    ends = [0, *(word.end for word in words)]
    assert [word.start for word in words] == ends[:-1] and ends[-1] == len(tokens)
    assert all(text[word.at :].startswith(word.text) for word in words)


def test_real_tokenizer(smollm2):
    one = smollm2.tokenizer
    pieces = ["Anna", "ĠðŁĺ", "Ģ", "Ġ", "1", "9", ",", "Ċ", "Ċ", "New", "Ġx", "Ċ"]
    assert triples(word_spans(one, by_piece(one, *pieces))) == [
        ("Anna", 0, 1),
        ("😀", 1, 3),
        ("19,", 3, 7),
        ("New", 7, 10),  # line breaks belong to the word behind them
        ("x", 10, 11),  # no word follows the last one
    ]


def test_sentencepiece_with_bytes():
    one = llama2_like()
    split = by_piece(one, "▁born", "▁", "1", "9", "<0x0A>", "1", "▁", "<0xC3>", "<0xA9>", "b", "▁a")
    assert triples(word_spans(one, split)) == [
        ("born", 0, 1),
        ("19", 1, 4),
        ("1", 4, 6),
        ("éb", 6, 10),
        ("a", 10, 11),
    ]
    inside = by_piece(one, "▁a", "<0xC3>", "<0xA9>", "b", "▁a", "<0xF0>", "<0x9F>")
    first, second = word_spans(one, inside)
    assert (first.text, first.start, first.end) == ("aéb", 0, 4)
    assert (second.start, second.end) == (4, 7)  # a character cut off stays with its word
    assert triples(word_spans(one, by_piece(one, "▁", "1"))) == [("1", 0, 2)]


def test_special_tokens_belong_to_no_word(smollm2):
    one = smollm2.tokenizer
    end = one.eos_token
    tokens = by_piece(one, end, "New", end, "x", "Ġx", end, end)
    assert triples(word_spans(one, tokens)) == [("New", 1, 2), ("x", 3, 4), ("x", 4, 5)]
    text, spans = decoded(one, tokens)
    assert text == "\nNew\nx x\n\n"
    assert spans == [(0, 0), (1, 4), (4, 4), (5, 6), (6, 8), (8, 8), (9, 9)]
    assert word_spans(one, tokens[:1]) == word_spans(one, tokens[:0]) == []


def test_words_that_share_a_token_are_one():
    vocab = {"of": 0, " the sea": 1, "s": 2, " is": 3}
    made = Tokenizer(models.WordLevel(vocab, unk_token="of"))
    made.decoder = decoders.Fuse()
    one = PreTrainedTokenizerFast(tokenizer_object=made)
    assert word_spans(one, torch.tensor([0, 1, 2, 3])) == [
        Word("of", 0, 1, 0),
        Word("the seas", 1, 3, 3),
        Word("is", 3, 4, 12),
    ]


def test_no_tokenizer():
    with pytest.raises(InputError, match="need the tokenizer"):
        word_spans(None, torch.tensor([1]))
