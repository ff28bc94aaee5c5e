"""Small tokenizers of every family, trained in a second on the prose that ships."""

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from retrieval_lens.tasks.haystacks import read_haystack


def _prose() -> list[str]:
    """Running text, and every character that tests use at the start of a word and inside one."""
    characters = "abcdefghijklmnopqrstuvwxyz0123456789.,:'\"-"
    pairs = [f"{one}{two}" for one in characters for two in characters]
    return [*read_haystack("letters")[1].split("\n"), *pairs]


def _byte_level_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_prose(), trainer)
    return tokenizer


def _sentencepiece_unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=1500, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(_prose(), trainer)
    return tokenizer


def _sentencepiece_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=1800, special_tokens=["<unk>", *byte_tokens], show_progress=False
    )
    tokenizer.train_from_iterator(_prose(), trainer)
    return tokenizer


def _wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=1500, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(_prose(), trainer)
    return tokenizer


FAMILIES = {
    "byte_level_bpe": _byte_level_bpe,
    "sentencepiece_unigram": _sentencepiece_unigram,
    "sentencepiece_bpe": _sentencepiece_bpe,
    "wordpiece": _wordpiece,
}


@cache
def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a family, made once."""
    return PreTrainedTokenizerFast(tokenizer_object=FAMILIES[family]())


CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
NO_SYSTEM_TEMPLATE = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + CHAT_TEMPLATE
)
DROPS_SYSTEM_TEMPLATE = CHAT_TEMPLATE.replace(
    "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"
)
