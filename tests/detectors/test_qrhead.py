"""QRHead: by hand, against plain transformers, and what it refuses."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, Phi3Config, PreTrainedTokenizerFast

import retrieval_lens as rl
from retrieval_lens.detectors import Detection, QRHead, detect, qrhead
from retrieval_lens.detectors.qrhead import document_score
from retrieval_lens.detectors.query_pair import query_pair
from retrieval_lens.errors import (
    ContextLengthError,
    InputError,
    NumericalError,
    UnsupportedModelError,
)
from retrieval_lens.models import checkpoint_folder, hook_names
from retrieval_lens.tracing import fast_attention
from retrieval_lens.tracing.span_rows import SpanRows, mean_rows
from retrieval_lens.tracing.twin import twin_of
from tests import tiny_models
from tests.tiny_models import FAMILIES, tiny_hf

DOCUMENTS = (
    "Ann Orle : she sails the grey ship Tern out of the port of Venn .",
    "Venn : a port on the river Lode , where the old bell rings at noon .",
    "Bob Hale : he sails no ship and rings no bell .",
)
QUESTION = "On which river is the port of the ship Tern ?"
SUFFIX = " \n Answer : "


@cache
def words():
    """A word for each token, so that every position can be counted by hand."""
    text = " ".join((*DOCUMENTS, QUESTION, SUFFIX, "Context Find what is asked N / A \n x y"))
    names = ["<unk>", "<s>", "</s>", *dict.fromkeys(text.split(" ")), "N/A"]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def hops(id="two", gold=(0, 1), question=QUESTION, **changes):
    """Three documents, two of them gold, an instruction in front of the question."""
    context = " \n ".join(DOCUMENTS)
    late = " \n Find what is asked : "
    prompt = f"Context : {context}{late}{question}{SUFFIX}"
    meta = {"gold_documents": list(gold), "query_start": prompt.rfind("Find")}
    made = rl.RetrievalExample.from_text(
        words(),
        prompt,
        ["she sails the grey ship Tern out of the port of Venn ."],
        answer="Lode",
        question=question,
        context=context,
        documents=DOCUMENTS,
        id=id,
        meta=meta,
    )
    return replace(made, **changes)


def bridge_of(hf_model):
    return rl.load_model(hf_model=hf_model, tokenizer=words(), check=False)


@pytest.fixture(scope="module")
def llama():
    return bridge_of(tiny_hf("llama-gqa"))


def rows_by_hand(hf_model, ids, first):
    """Mean of the last rows, `[layer, head, key]`, from whole eager patterns."""
    with torch.no_grad():
        out = hf_model(ids.view(1, -1), output_attentions=True)
    patterns = torch.cat(out.attentions).double().numpy()
    return patterns[:, :, first:].sum(2) / (len(ids) - first)


def qr_by_hand(hf_model, tokenizer, prompt, question, start, documents, bos=()):
    """The score of one example; the documents are characters of the prompt."""
    rows, offsets = [], []
    at = prompt.rindex(question)
    for text in (prompt, prompt[:at] + "N/A" + prompt[at + len(question) :]):
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets.append([(0, 0)] * len(bos) + encoded["offset_mapping"])
        ids = torch.tensor([*bos, *encoded["input_ids"]])
        first = min(i for i, (_, end) in enumerate(offsets[-1]) if end > start)
        rows.append(rows_by_hand(hf_model, ids, first))
    total = np.zeros(rows[0].shape[:2])
    for low, high in documents:
        inside = [
            [i for i, (a, b) in enumerate(o) if any(low <= c < high for c in range(a, b))]
            for o in offsets
        ]
        for layer, head in np.ndindex(total.shape):
            scores = rows[0][layer, head][inside[0]] - rows[1][layer, head][inside[1]]
            floor = scores.mean() - 2 * scores.std(ddof=1)
            total[layer, head] += sum(score for score in scores if score > floor)
    return total


def expected_of(hf_model, example):
    hf_model.set_attn_implementation("eager")
    gold = [DOCUMENTS[i] for i in example.meta["gold_documents"]]
    spans = [(example.prompt.index(d), example.prompt.index(d) + len(d)) for d in gold]
    start = example.meta["query_start"]
    return qr_by_hand(hf_model, words(), example.prompt, example.question, start, spans)


# By hand


def test_tokens_far_below_the_others_are_dropped():
    """Mean -3/7, std with n - 1: sqrt(6 (10/7)^2 + (60/7)^2) / 6) = 3.78; the floor is -7.99."""
    scores = torch.tensor([[[1.0] * 6 + [-9.0], [1.0] * 6 + [-1.0]]])
    assert document_score(scores).tolist() == [[6.0, 6.0]]
    assert document_score(scores, 3).tolist() == [[-3.0, 5.0]]
    # an exact floor: mean 0, std 1, and -2 is dropped because it is not above
    exact = torch.tensor([[[-2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]]])
    assert document_score(exact).tolist() == [[2.0]]
    assert document_score(torch.tensor([[[-0.5]]])).tolist() == [[-0.5]]


def test_rows_are_averaged_from_the_first_query_on():
    rows = SpanRows([4, 7], n_tokens=5, first_query=3, start=1)
    pattern = torch.arange(20.0).view(1, 1, 4, 5)  # rows of the positions 1 to 4
    rows.add(4, pattern)
    rows.add(7, pattern[:, :, :1])
    rows.add(7, pattern[:, :, 1:3])
    rows.add(7, pattern[:, :, 3:, 2:])  # a sliding window: the newest three keys
    assert rows.mean().tolist() == [
        [[12.5, 13.5, 14.5, 15.5, 16.5]],
        [[5.0, 5.5, 14.5, 15.5, 16.5]],
    ]


def test_rows_that_are_missing_or_broken_are_refused():
    rows = SpanRows([0, 1], n_tokens=2, first_query=1, start=0)
    rows.add(0, torch.eye(2).view(1, 1, 2, 2))
    with pytest.raises(UnsupportedModelError, match=r"layers \[0\], not from \[0, 1\]"):
        rows.mean()
    rows.add(1, torch.full((1, 1, 2, 2), float("nan")))
    with pytest.raises(NumericalError, match="load it in float32"):
        rows.mean()


def test_a_case_worked_by_hand(llama, monkeypatch):
    """Context : = 0 1, document 0 = 2..17, a line break, document 1 = 19..35, query from 50."""
    pair = query_pair(words(), hops(), "N/A", "documents")
    assert [at.tolist() for at in pair.documents[0]] == [list(range(2, 18))] * 2
    assert [at.tolist() for at in pair.documents[1]] == [list(range(19, 36))] * 2
    n = [len(ids) for ids in pair.token_ids]
    assert pair.first_queries == (50, 50) and n == [69, 59]
    assert words().decode(pair.token_ids[1][50:]) == "Find what is asked : N/A \n Answer :"

    def rows(model, prompts, first_queries, engine):
        query, null = (torch.zeros(1, 2, len(ids), dtype=torch.float64) for ids in prompts)
        query[0, 0, [2, 17, 19, 36]] = torch.tensor([0.5, 0.125, 0.25, 9.0]).double()
        null[0, 0, [2, 18]] = torch.tensor([0.25, 9.0]).double()
        null[0, 1, 20] = 0.5  # all 0 but for one -0.5: dropped
        return [query, null]

    monkeypatch.setattr(qrhead, "mean_rows", rows)
    found = detect(llama, [hops(), hops("one", gold=[1])], QRHead(), progress=False)
    assert found.totals.tolist() == [[[0.625, 0.0]], [[0.25, 0.0]]]
    assert found.scores.tolist() == [[0.4375, 0.0]] and found.weights.tolist() == [1, 1]
    assert found.details["n_gold_documents"] == [2, 1]
    assert found.details["n_gold_tokens"] == [33, 17]
    assert found.details["n_query_tokens"] == [19, 19]


# Against plain transformers


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_plain_transformers(family):
    # a window of 16 sees the last document only
    bridge, one = bridge_of(tiny_hf(family)), hops(gold=(1, 2))
    assert len(one.token_ids) > 3 * tiny_models.WINDOW
    expected = expected_of(tiny_hf(family), one)
    assert np.abs(expected).max() > 0.01
    found = detect(bridge, [one], QRHead(), progress=False)
    assert found.conventions["engine"] == "fast"
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    pair = query_pair(words(), one, "N/A", "documents")
    fast = mean_rows(bridge, pair.token_ids, pair.first_queries, "fast")
    hooked = mean_rows(bridge, pair.token_ids, pair.first_queries, "hooks")
    for a, b in zip(fast, hooked, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        np.testing.assert_allclose(a.sum(-1), 1, atol=1e-5)


def test_a_rope_that_depends_on_the_length():
    """The border lies at the end of the shared start: its keys would have other frequencies."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "partial_rotary_factor": 1.0,
        "short_factor": [1.0] * 8,
        "long_factor": [3.0] * 8,
        "original_max_position_embeddings": 50,
    }
    config = Phi3Config(
        num_key_value_heads=2,
        rope_parameters=rope,
        original_max_position_embeddings=50,
        **tiny_models._SHARED,
    )

    def made():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return AutoModelForCausalLM.from_config(config).eval()

    one = hops()
    found = detect(bridge_of(made()), [one], QRHead(), progress=False)
    np.testing.assert_allclose(found.scores, expected_of(made(), one), atol=1e-5)


def test_a_real_model_equals_plain_transformers(smollm2):
    folder = checkpoint_folder("smollm2-135m")
    plain = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = smollm2.tokenizer
    one = rl.needle_example(tokenizer, 60, seed=3)
    found = detect(smollm2, [one], QRHead(), progress=False)
    start = one.prompt.rindex(one.question)
    (needle,) = one.evidence_spans
    expected = qr_by_hand(plain, tokenizer, one.prompt, one.question, start, [needle])
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    assert expected.max() > 0.1
    assert found.conventions["gold_read"] == "evidence"


def test_a_token_in_front_of_the_text_shifts_all_positions(llama):
    plain = hops()
    with_bos = rl.RetrievalExample.from_text(
        words(),
        plain.prompt,
        [plain.evidence_spans[0]],
        question=QUESTION,
        documents=DOCUMENTS,
        prepend_bos=True,
        meta=plain.meta,
    )
    assert len(with_bos.token_ids) == len(plain.token_ids) + 1
    hf_model = tiny_hf("llama-gqa")
    hf_model.set_attn_implementation("eager")
    spans = [(plain.prompt.index(d), plain.prompt.index(d) + len(d)) for d in DOCUMENTS[:2]]
    start = plain.meta["query_start"]
    expected = qr_by_hand(hf_model, words(), plain.prompt, QUESTION, start, spans, bos=[1])
    found = detect(llama, [with_bos], QRHead(), progress=False)
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)


def test_the_question_is_where_it_stands_last():
    one = hops()
    asked = one.prompt.replace("Context :", f"Context : {QUESTION} \n")
    evidence = [one.evidence_text]
    twice = rl.RetrievalExample.from_text(
        words(),
        asked,
        evidence,
        question=QUESTION,
        documents=DOCUMENTS,
        meta={"gold_documents": [0]},
    )
    pair = query_pair(words(), twice, "N/A", "documents")
    assert pair.first_queries == (55 + 12, 55 + 12)
    assert words().decode(pair.token_ids[1][67:]) == "N/A \n Answer :"


# How it runs


def test_the_start_is_run_once_and_only_the_endings_are_read(llama, monkeypatch):
    fed, read = [], set()
    add = SpanRows.add

    def watched(self, layer, pattern):
        read.add(tuple(pattern.shape[2:]))
        add(self, layer, pattern)

    monkeypatch.setattr(SpanRows, "add", watched)
    embed = twin_of(llama).get_input_embeddings()
    handle = embed.register_forward_hook(lambda m, args, out: fed.append(args[0].shape[1]))
    pair = query_pair(words(), hops(), "N/A", "documents")
    try:
        mean_rows(llama, pair.token_ids, pair.first_queries, "fast")
    finally:
        handle.remove()
    assert fed == [50, 19, 9] and read == {(19, 69), (9, 59)}


def hook_count(bridge):
    points = sum(len(p.fwd_hooks) for p in bridge.hook_dict.values())
    modules = {id(m): m for root in (bridge, bridge.original_model) for m in root.modules()}
    return points, sum(len(m._forward_hooks) for m in modules.values())


def test_hooks_of_the_user_are_seen_and_ours_are_gone(llama):
    def uniform(pattern, hook):
        return torch.ones_like(pattern) / pattern.shape[-1]

    clean = detect(llama, [hops()], QRHead(), progress=False)
    before = hook_count(llama)
    with llama.hooks(fwd_hooks=[(hook_names.pattern(0), uniform)]):
        inside = hook_count(llama)
        found = detect(llama, [hops()], QRHead(), progress=False)
        assert hook_count(llama) == inside != before
    assert hook_count(llama) == before
    assert found.conventions["engine"] == "hooks" and clean.conventions["engine"] == "fast"
    # 1/69 - 1/59 for every token, up to rounding, of which some may be dropped
    assert -33 * (1 / 59 - 1 / 69) - 1e-6 < found.scores[0].min() <= found.scores[0].max() < 1e-6
    assert not torch.allclose(found.scores[1:], clean.scores[1:], atol=1e-3)


def test_hooks_are_gone_after_an_exception(llama):
    calls = []

    def fails(value, hook):
        calls.append(len(calls))
        if len(calls) == 2:  # the first is the start, the second is read
            assert hook_count(llama)[0] >= before + tiny_models.N_LAYERS + 1
            raise RuntimeError("stop here")

    before = hook_count(llama)[0]
    kept = hook_count(llama)
    hooked = llama.hooks(fwd_hooks=[(hook_names.resid_post(2), fails)])
    with hooked, pytest.raises(RuntimeError, match="stop here"):
        detect(llama, [hops()], QRHead(), progress=False)
    assert hook_count(llama) == kept
    assert len(calls) == 2


def test_nobody_listens_after_an_exception(llama, monkeypatch):
    def fails(self, layer, pattern):
        assert fast_attention._PASS.get()[1] is self
        raise RuntimeError("stop here")

    monkeypatch.setattr(SpanRows, "add", fails)
    with pytest.raises(RuntimeError, match="stop here"):
        detect(llama, [hops()], QRHead(), progress=False)
    assert fast_attention._PASS.get() == (None, None)


def test_the_same_twice_and_the_record(llama, tmp_path):
    detector = QRHead(n_std=1.5, null_query="x y", gold="documents", threshold=0.05)
    found = detect(llama, [hops(), hops("b", gold=[2])], detector, progress=False)
    again = detect(llama, [hops(), hops("b", gold=[2])], detector, progress=False)
    assert torch.equal(found.totals, again.totals)
    assert not torch.equal(
        found.totals, detect(llama, [hops(), hops("b", gold=[2])], QRHead(), progress=False).totals
    )
    assert found.detector == {
        "class": "QRHead",
        "name": "QRHead",
        "gold": "documents",
        "null_query": "x y",
        "n_std": 1.5,
        "threshold": 0.05,
    }
    assert found.threshold == 0.05 and found.model["n_heads"] == 4
    assert found.conventions["gold_read"] == "documents" and found.example_ids == ("two", "b")
    json.dumps(found.frame().attrs, allow_nan=False)
    loaded = Detection.load(found.save(tmp_path / "qr.json"))
    assert torch.equal(loaded.totals, found.totals) and loaded.provenance() == found.provenance()


def test_evidence_may_be_read_instead_of_documents(llama):
    one = hops()
    found = detect(llama, [one], QRHead(gold="evidence"), progress=False)
    assert found.details["n_gold_tokens"] == [len(one.evidence)]
    unnamed = replace(one, meta={})
    auto = detect(llama, [unnamed], QRHead(), progress=False)
    assert auto.conventions["gold_read"] == "evidence"
    # without query_start the span begins at the question
    assert auto.details["n_query_tokens"] == [found.details["n_query_tokens"][0] - 5]
    with pytest.raises(InputError, match="'u' names no gold documents and others do"):
        detect(llama, [one, replace(unnamed, id="u")], QRHead())


def test_documents_that_stand_twice_need_their_places():
    twice = hops(documents=(DOCUMENTS[1], DOCUMENTS[1]))
    with pytest.raises(InputError, match=r"stands 1 times in the prompt, not 2"):
        query_pair(words(), twice, "N/A", "documents")
    one = hops(documents=("the port of Venn .",), meta={"gold_documents": [0]})
    at = one.prompt.index("the port of Venn .")
    pair = query_pair(words(), one, "N/A", "documents")
    assert pair.documents[0][0].tolist() == [13, 14, 15, 16, 17]
    for meta, message in (
        ({"document_spans": [[at + 1, at + 9]]}, "do not hold its documents"),
        ({"document_spans": [3]}, "wanted .start, end. each"),
    ):
        changed = replace(one, meta={**one.meta, **meta})
        with pytest.raises(InputError, match=message):
            query_pair(words(), changed, "N/A", "documents")
    ship = hops(documents=("ship",), meta={"gold_documents": [0]})
    with pytest.raises(InputError, match="stands 3 times"):
        query_pair(words(), ship, "N/A", "documents")
    at = ship.prompt.index("ship", 60)
    said = replace(ship, meta={**ship.meta, "document_spans": [[at, at + 4]]})
    assert query_pair(words(), said, "N/A", "documents").documents[0][0].tolist() == [43]


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": "Who sails ?"}, "'Who sails .' of 'two' is empty or not in its prompt"),
        ({"question": ""}, "is empty or not in its prompt"),
        ({"meta": {"gold_documents": []}}, r"gold documents \[\] of 3 documents"),
        ({"meta": {"gold_documents": [3]}}, r"gold documents \[3\] of 3 documents"),
        ({"meta": {"gold_documents": [-1]}}, r"gold documents \[-1\] of 3"),
        ({"meta": {"gold_documents": ["a"]}}, r"is \['a'\]"),
        ({"documents": ("", *DOCUMENTS[1:])}, "gold document 0 of 'two' is empty"),
        ({"documents": ("Venn was", *DOCUMENTS[1:])}, "stands 0 times in the prompt"),
        ({"documents": DOCUMENTS[::-1]}, "not behind the one before it"),
        ({"documents": (DOCUMENTS[0], "Answer :")}, "after the query span begins"),
        ({"meta": {"gold_documents": [0], "query_start": 10**4}}, "query_start.* is 10000"),
        ({"meta": {"gold_documents": [0], "query_start": "x"}}, "query_start.* is 'x'"),
        ({"token_ids": hops().token_ids[:-3]}, "was cut off"),
        ({"token_ids": hops().token_ids.flip(0)}, "of another tokenizer"),
    ],
)
def test_examples_that_cannot_be_read(llama, changes, message):
    with pytest.raises(InputError, match=message):
        detect(llama, [hops("good"), replace(hops(), **changes)], QRHead(gold="documents"))


def test_a_prompt_longer_than_the_context(llama):
    long = " ".join([DOCUMENTS[0]] * 20)
    prompt = f"{long} \n {QUESTION}"
    one = rl.RetrievalExample.from_text(words(), prompt, [(0, 9)], question=QUESTION)
    with pytest.raises(ContextLengthError, match="the model's context is 256"):
        detect(llama, [hops(gold=[0], meta={}), one], QRHead())


def test_a_model_without_a_tokenizer_and_wrong_parameters():
    with pytest.raises(InputError, match="need a tokenizer"):
        detect(tiny_models.tiny_bridge("llama-gqa"), [hops()], QRHead())
    for wrong in ({"gold": "all"}, {"null_query": " "}):
        with pytest.raises(InputError, match="gold is one of auto, documents, evidence"):
            QRHead(**wrong)
    for wrong in ({"n_std": 0}, {"threshold": -1}, {"n_std": float("nan")}):
        with pytest.raises(InputError, match="must be above 0"):
            QRHead(**wrong)
    with pytest.raises(InputError, match=r"first query position 2 is not in 0\.\.1"):
        mean_rows(None, [torch.tensor([1, 2])], [2], "fast")
