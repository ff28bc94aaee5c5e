"""The real model: Wu's detector against plain transformers and plain loops."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from nltk.stem.porter import PorterStemmer
from transformers import AutoModelForCausalLM

import retrieval_lens as rl
from retrieval_lens.detectors import ScoreMean, Wu, detect, detect_heads
from retrieval_lens.errors import ContextLengthError, InputError
from retrieval_lens.models import checkpoint_folder
from tests.tracing import reference

STEPS = 12  # enough for three of the four needles to pass the gate, too few for the last


@pytest.fixture(scope="module")
def examples(smollm2):
    return [rl.needle_example(smollm2.tokenizer, 40, seed=seed) for seed in range(4)]


@pytest.fixture(scope="module")
def found(smollm2, examples):
    return detect(smollm2, examples, max_new_tokens=STEPS, batch_size=3, progress=False)


def words(text):
    found = re.findall(r"[a-z0-9]+", text.lower())
    return Counter(PorterStemmer().stem(word) if len(word) > 3 else word for word in found)


def wu_by_hand(hf_model, tokenizer, examples):
    """Wu's score from whole attention rows, head by head and step by step; and who passed."""
    kept, passed = [], []
    for example in examples:
        prompt = example.token_ids.tolist()
        run = reference.decode(hf_model, example.token_ids, {2}, STEPS)
        needle = words("".join(example.prompt[a:b] for a, b in example.evidence_spans))
        response = words(tokenizer.decode(run.tokens, skip_special_tokens=True))
        passed.append(sum((needle & response).values()) / sum(needle.values()) > 0.5)
        score = np.zeros(run.rows[0].shape[:2])
        places = example.evidence.tolist()
        for row, token in zip(run.rows, run.tokens, strict=True):
            for layer, head in np.ndindex(score.shape):
                best = int(np.argmax(row[layer, head]))
                if best in places and prompt[best] == token:
                    score[layer, head] += 1 / len(places)
        if passed[-1]:
            kept.append(score)
    return np.mean(kept, axis=0), passed


def test_wu_equals_plain_loops_over_plain_transformers(smollm2, examples, found):
    folder = checkpoint_folder("smollm2-135m")
    hf_model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    expected, passed = wu_by_hand(hf_model, smollm2.tokenizer, examples)
    assert sum(passed) == 3 and (found.weights > 0).tolist() == passed
    np.testing.assert_allclose(found.scores, expected, atol=1e-12)
    assert found.share == np.mean(expected >= 0.1)
    best = np.unravel_index(expected.argmax(), expected.shape)
    assert found.heads(1).heads[0] == best and expected.max() > 0.2


def test_traces_made_before_give_the_same(smollm2, examples, found):
    tracer = rl.RetrievalTracer(smollm2)
    traces = tracer.trace_many(examples, max_new_tokens=STEPS, progress=False)
    again = Wu().from_traces(traces, examples)
    assert torch.equal(again.totals, found.totals) and again.heads() == found.heads()
    assert again.heads().scores == found.heads().scores
    for name, score in (("copy_paste", rl.CopyPaste()), ("reasoning", rl.Reasoning())):
        mean = ScoreMean(score).from_traces(traces, examples).heads()
        static = rl.static_heads(traces, k=None, score=name)
        assert mean.scores == pytest.approx(static.scores, rel=1e-12)
        if name == "copy_paste":
            assert mean.heads == static.heads and mean.scores == static.scores


def test_the_table_of_a_run(smollm2, examples):
    ranking = detect_heads(
        smollm2, examples[:1], ScoreMean(), max_new_tokens=3, batch_size=1, progress=False
    )
    assert len(ranking) == 270 and ranking.attrs["n_used"] == 1
    assert ranking.attrs["model"] == rl.model_info(smollm2)
    assert ranking.attrs["conventions"]["max_new_tokens"] == 3
    assert ranking.attrs["conventions"]["retrieval_lens"]
    assert ranking.attrs["parameters"]["score"]["class"] == "CopyPaste"


def test_errors_before_anything_is_run(smollm2, examples):
    with pytest.raises(InputError, match="a detector is an object such as Wu"):
        detect(smollm2, examples, Wu)
    with pytest.raises(InputError, match="at least one example"):
        detect(smollm2, [])
    with pytest.raises(InputError, match=f"two examples have the id '{examples[0].id}'"):
        detect(smollm2, [examples[0], examples[0]])
    with pytest.raises(InputError, match="max_new_tokens must be at least 1"):
        detect(smollm2, examples, max_new_tokens=0)
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        detect(smollm2, examples, batch_size=0)
    with pytest.raises(ContextLengthError):
        detect(smollm2, examples, max_new_tokens=9000)
