"""A reader that plays a script, words for tokens, and writes down what it was asked."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import retrieval_lens as rl
from retrieval_lens.rag import Draft, Look, Retrieved, Strategy

CONTEXT_WORDS = [f"w{i}" + ("." if i % 10 == 9 else "") for i in range(100)]
CONTEXT = " ".join(CONTEXT_WORDS)
FIRST = 2  # position of w0
HOOK = "some.hook"
_KNOWN = "Read this: Ask: who? Rain fell. The old harbour slept. Gulls cried. Bread is cheap. and "
_KNOWN += "so it went on the answer is Bob."


def words_tokenizer() -> PreTrainedTokenizerFast:
    """Every word is a token."""
    every = ["<unk>", "<eos>", *dict.fromkeys([*_KNOWN.split(), *CONTEXT_WORDS])]
    model = models.WordLevel({word: i for i, word in enumerate(every)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>", clean_up=False
    )


TOKENIZER = words_tokenizer()


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER(text, add_special_tokens=False).input_ids)


def example(evidence=("w12 w13",), **parts) -> Any:
    """Two words, 100 words of context in sentences of ten, two words."""
    return rl.RetrievalExample.from_text(
        TOKENIZER,
        f"Read this: {CONTEXT} Ask: who?",
        list(evidence),
        **{"answer": "Bob", "question": "who?", "context": CONTEXT, "id": "fake", **parts},
    )


@dataclass
class FakeReader:
    """Plays `script`, one line a draft; a word in capitals has an entropy of 100, "|" ends it."""

    script: list[str]
    peaks: dict[tuple[int, int], dict[int, float]] = field(default_factory=dict)
    shape: tuple[int, int] = (2, 3)
    hidden: Any = None
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    tokenizer: Any = TOKENIZER
    provenance: dict[str, Any] = field(default_factory=dict)

    def draft(self, generated, visible, max_tokens, n_sentences):
        self.calls.append(("draft", self.text(generated), shown(visible), max_tokens, n_sentences))
        words = self.script.pop(0).split()
        ended = bool(words) and words[-1] == "|"
        words = words[: len(words) - ended][:max_tokens]
        hot = [word.strip(".").isupper() for word in words]
        plain = [word.lower() if is_hot else word for word, is_hot in zip(words, hot, strict=True)]
        entropy = torch.tensor([100.0 if is_hot else 0.0 for is_hot in hot])
        tokens = ids(" ".join(plain))
        assert len(tokens) == len(words) and 0 not in tokens, f"unknown word in {plain}"
        return Draft(tokens, entropy, ended)

    def rows(self, tokens, generated, visible, attention):
        self.calls.append(("rows", self.text(tokens), self.text(generated), attention))
        n = len(tokens)
        return (torch.ones(2, n, n).tril() / torch.arange(1, n + 1).view(1, n, 1)).float()

    def look(self, generated):
        self.calls.append(("look", self.text(generated)))
        rows = torch.zeros(*self.shape, 104 + len(generated))
        for (layer, head), weights in self.peaks.items():
            for position, weight in weights.items():
                rows[layer, head, position] = weight
        return Look(rows, {} if self.hidden is None else {HOOK: self.hidden})

    def text(self, tokens):
        return self.tokenizer.decode(list(tokens))


def shown(visible) -> list[int]:
    """Visible positions of the context; all others must be visible."""
    outside = torch.cat([visible[:FIRST], visible[FIRST + 100 :]])
    assert len(visible) == 104 and bool(outside.all())
    return (visible[FIRST : FIRST + 100].nonzero().flatten() + FIRST).tolist()


@dataclass(frozen=True)
class Scripted(Strategy):
    """Shows these windows, one after the other, and keeps what it was asked."""

    turns: tuple[Any, ...]
    asked: list[Any] = field(default_factory=list)
    name: ClassVar[str] = "scripted"

    def windows(self, request):
        self.asked.append(request)
        return Retrieved(tuple(self.turns[len(self.asked) - 1]))
