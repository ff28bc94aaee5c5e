"""RIND: a case worked on paper, the real model by loops, what is refused."""

import sys
from importlib.machinery import ModuleSpec
from math import log
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from retrieval_lens.errors import InputError, NumericalError, UnknownNameError
from retrieval_lens.models import checkpoint_folder
from retrieval_lens.rag import RIND, Word, entropy_of, first_hit
from retrieval_lens.rag.content_words import FILTERS, stop_words

# The draft "The lighthouse. It stood." as The| light|house|.| It| stood|.
PIECES = ["The", "Ġlight", "house", ".", "ĠIt", "Ġstood", "."]
ENTROPY = [1.0, 2.0, 0.6, 0.4, 3.0, 0.9, 0.1]
ROWS = [
    [
        [1.0, 0, 0, 0, 0, 0, 0],
        [0.6, 0.4, 0, 0, 0, 0, 0],
        [0.5, 0.3, 0.2, 0, 0, 0, 0],
        [0.2, 0.2, 0.5, 0.1, 0, 0, 0],
        [0.4, 0.1, 0.1, 0.1, 0.3, 0, 0],
        [0.2, 0.2, 0.1, 0.1, 0.3, 0.1, 0],
        [0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.2],
    ],
    [
        [1.0, 0, 0, 0, 0, 0, 0],
        [0.8, 0.2, 0, 0, 0, 0, 0],
        [0.4, 0.2, 0.4, 0, 0, 0, 0],
        [0.4, 0.2, 0.1, 0.3, 0, 0, 0],
        [0.3, 0.2, 0.1, 0.1, 0.3, 0, 0],
        [0.2, 0.2, 0.1, 0.1, 0.1, 0.3, 0],
        [0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.2],
    ],
]
# Largest of each column: head 0 gives 1, .4, .5, .1, .3, .3, .2; head 1 gives 1, .2, .4, .3, .3,
# .3, .2. Their means: 1, .3, .45, .2, .3, .3, .2. Words: The = 1; lighthouse. = .3 + .45 + .2 =
# .95; It = .3; stood. = .3 + .2 = .5. Shares: 1/1.95, .95/1.95; .3/.8, .5/.8. Two words a
# sentence. Entropies: 1; (2 + .6 + .4)/3 = 1; 3; (.9 + .1)/2 = .5.
SHARES = [1 / 1.95, 0.95 / 1.95, 0.375, 0.625]
SCORES = [2 / 1.95, 1.9 / 1.95, 3 * 0.375 * 2, 0.5 * 0.625 * 2]  # 1.026 .974 2.25 .625


@pytest.fixture
def draft(smollm2):
    tokens = torch.tensor(smollm2.tokenizer.convert_tokens_to_ids(PIECES))
    return smollm2.tokenizer, tokens, torch.tensor(ENTROPY), torch.tensor(ROWS)


def test_by_hand(draft):
    frame = RIND(threshold=0.9).measure(*draft)
    assert frame["word"].tolist() == ["The", "lighthouse.", "It", "stood."]
    assert frame["start"].tolist() == [0, 1, 4, 5] and frame["end"].tolist() == [1, 4, 5, 7]
    assert frame["sentence"].tolist() == [0, 0, 1, 1] and frame["n_words"].tolist() == [2] * 4
    np.testing.assert_allclose(frame["entropy"], [1, 1, 3, 0.5], rtol=1e-6)
    np.testing.assert_allclose(frame["attention"], SHARES, rtol=1e-6)
    np.testing.assert_allclose(frame["score"], SCORES, rtol=1e-6)
    assert frame["content"].tolist() == [False, True, False, True]
    assert frame["hit"].tolist() == [False, True, False, False]
    assert first_hit(frame) == 1
    factors = ("entropy", "attention", "n_words")
    settings = {"threshold": 0.9, "attention": "isolated", "words": "stop_words"}
    assert frame.attrs == settings | {"factors": factors}


def test_each_factor_can_be_left_out(draft):
    def scores(*factors):
        return RIND(factors=factors).measure(*draft)["score"].tolist()

    assert scores("entropy") == pytest.approx([1, 1, 3, 0.5])
    assert scores("attention") == pytest.approx(SHARES)
    assert scores("n_words", "entropy") == pytest.approx([2, 2, 6, 1])
    assert RIND(factors=["n_words", "entropy"]).factors == ("entropy", "n_words")


def test_threshold_and_filter_decide_the_first_hit(draft):
    def hit(**settings):
        return first_hit(RIND(**settings).measure(*draft))

    assert hit(threshold=0.9, words="all") == 0
    assert hit(threshold=2, words="all") == 2
    assert hit(threshold=0.98) is None
    assert hit(threshold=1e9, words="all") is None
    assert hit(threshold=0) == 1
    score = float(RIND().measure(*draft)["score"][1])
    assert hit(threshold=score) is None  # above, not at


def test_special_tokens_take_no_share(draft):
    tokenizer, tokens, entropy, rows = draft
    longer = torch.cat([tokens, torch.tensor([tokenizer.eos_token_id])])
    padded = torch.zeros(2, 8, 8)
    padded[:, :7, :7] = rows
    padded[:, 7, 7] = 1.0
    more = torch.cat([entropy, torch.tensor([9.0])])
    frame = RIND().measure(tokenizer, longer, more, padded)
    np.testing.assert_allclose(frame["score"], SCORES, rtol=1e-6)
    only = RIND().measure(tokenizer, longer[7:], more[7:], padded[:, 7:, 7:])
    assert len(only) == 0 and first_hit(only) is None
    assert only.dtypes.equals(frame.dtypes)


@torch.no_grad()
def test_real_model_by_loops(smollm2):
    folder = checkpoint_folder("smollm2-135m")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    text = "Marie Curie was born in Warsaw. She moved to Paris and won two Nobel Prizes there."
    tokens = smollm2.tokenizer(text, return_tensors="pt").input_ids[0]
    out = model(tokens.view(1, -1), output_attentions=True)
    last, logits = out.attentions[-1][0].double().numpy(), out.logits[0].double().numpy()
    n_heads, n, _ = last.shape
    marks = smollm2.tokenizer.convert_ids_to_tokens(tokens.tolist())
    assert n >= 20

    entropies = []
    for row in logits:
        p = np.exp(row - row.max())
        p /= p.sum()
        entropies.append(-sum(x * log(x) for x in p if x > 0))
    weight = []
    for key in range(n):
        heads = [max(last[head, q, key] for q in range(key, n)) for head in range(n_heads)]
        weight.append(sum(heads) / n_heads)
    words = []
    for i, mark in enumerate(marks):
        if i == 0 or mark.startswith("Ġ"):
            words.append([])
        words[-1].append(i)
    expected = []
    for sentence in (words[:6], words[6:]):
        total = sum(weight[i] for word in sentence for i in word)
        for word in sentence:
            share = sum(weight[i] for i in word) / total
            expected.append(share * np.mean([entropies[i] for i in word]) * len(sentence))

    found = entropy_of(out.logits[0])
    np.testing.assert_allclose(found, entropies, rtol=1e-9)
    rows = out.attentions[-1][0]
    frame = RIND(words="all").measure(smollm2.tokenizer, tokens, found, rows)
    assert frame["word"].tolist() == text.split()
    assert frame["sentence"].tolist() == [0] * 6 + [1] * 10
    np.testing.assert_allclose(frame["score"], expected, rtol=1e-6)
    sums = frame.groupby("sentence")["attention"].sum()
    np.testing.assert_allclose(sums, 1, rtol=1e-12)


def test_entropy():
    sharp = torch.tensor([[0.0, -9.0], [0.0, -torch.inf], [2.0, 2.0]])
    p = 1 / (1 + np.exp(9))
    np.testing.assert_allclose(
        entropy_of(sharp), [-p * log(p) - (1 - p) * log(1 - p), 0, log(2)], rtol=1e-12
    )
    assert entropy_of(sharp.bfloat16()).dtype == torch.float64
    for bad in ([0.0, torch.nan], [torch.inf, 0.0], [-torch.inf, -torch.inf]):
        with pytest.raises(NumericalError, match="step 1 give no distribution"):
            entropy_of(torch.tensor([[0.0, 0.0], bad]))


def words_of(*texts):
    ats = [len(" ".join(texts[:i])) + bool(i) for i in range(len(texts))]
    return [Word(text, i, i + 1, at) for i, (text, at) in enumerate(zip(texts, ats, strict=True))]


def test_stop_words():
    kept = ("Curie,", "(1903)", "cat's", "well-known", "**Radium**", "naïve")
    left = ("The", '"and', "it’s", "I'm", "don't", "there.", "—", "...", "_")
    assert stop_words("", words_of(*kept)) == [True] * len(kept)
    assert stop_words("", words_of(*left)) == [False] * len(left)


def test_spacy(monkeypatch, draft):
    from retrieval_lens.rag import content_words

    tags = {"He": ("PRON", False), "was": ("VERB", True), "Curie": ("PROPN", False)}

    def nlp(text):
        return [
            SimpleNamespace(text=word, idx=text.index(word), pos_=pos, is_stop=stop)
            for word, (pos, stop) in tags.items()
        ]

    for name in ("spacy", "en_core_web_sm"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.load = {"en_core_web_sm": nlp}.__getitem__
        monkeypatch.setitem(sys.modules, name, module)
    content_words._pipeline.cache_clear()
    RIND(words="spacy")
    found = FILTERS["spacy"]("He was (Curie).", words_of("He", "was", "(Curie)."))
    content_words._pipeline.cache_clear()
    assert found == [False, False, True]


def test_spacy_missing(monkeypatch):
    monkeypatch.setattr("retrieval_lens.rag.content_words.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs spacy and en_core_web_sm: pip install spacy"):
        RIND(words="spacy")


def test_settings_are_refused():
    for value in (-0.1, float("nan"), float("inf"), "1", None, True):
        with pytest.raises(InputError, match="threshold is a finite number from 0"):
            RIND(threshold=value)
    with pytest.raises(UnknownNameError, match="no attention 'alone'; known: isolated, in_context"):
        RIND(attention="alone")
    with pytest.raises(UnknownNameError, match="no words 'nouns'; known: stop_words, spacy, all"):
        RIND(words="nouns")
    with pytest.raises(UnknownNameError, match="no factor 'length'; known: entropy, attention"):
        RIND(factors=("entropy", "length"))
    for bad in ((), ("entropy", "entropy")):
        with pytest.raises(InputError, match="once at most, and one at least"):
            RIND(factors=bad)


def test_input_is_refused(draft):
    tokenizer, tokens, entropy, rows = draft
    silent = rows.clone()
    silent[:, :, 4:] = 0

    def refused(error, match, entropy=entropy, rows=rows):
        with pytest.raises(error, match=match):
            RIND().measure(tokenizer, tokens, entropy, rows)

    refused(InputError, r"7 tokens need .* got \(6,\)", entropy=entropy[:6])
    refused(InputError, r"attention \[head, 7, 7\]; got", rows=rows[:, :6])
    refused(InputError, r"attention \[head, 7, 7\]; got", rows=rows[:, :, 1:])
    refused(InputError, "no head", rows=rows[:0])
    refused(NumericalError, "NaN", entropy=entropy * torch.nan)
    refused(NumericalError, "NaN", rows=rows * torch.nan)
    refused(InputError, "at least 0 nats; got -3", entropy=-entropy)
    refused(InputError, "after the softmax", rows=rows * 1.1)
    refused(InputError, "after the softmax", rows=-rows)
    refused(InputError, "later key", rows=rows.mT / 10)
    refused(NumericalError, "no token of sentence 1", rows=silent)
