import copy
import json
from typing import Any

import pytest

import retrieval_lens as rl
from retrieval_lens.errors import ContextLengthError, InputError, UnknownNameError
from retrieval_lens.tasks import Questions
from retrieval_lens.tasks.hotpotqa import load, load_hub, own
from retrieval_lens.tasks.multihop_prompt import INSTRUCTION
from retrieval_lens.tracing.limits import check_context
from tests.tasks.test_multihop_readers import HOTPOT, MUSIQUE
from tests.tiny_models import tiny_bridge
from tests.tokenizers_at_hand import (
    CHAT_TEMPLATE,
    DROPS_SYSTEM_TEMPLATE,
    FAMILIES,
    NO_SYSTEM_TEMPLATE,
    tokenizer,
)

BPE = tokenizer("byte_level_bpe")


def record(**changes) -> dict[str, Any]:
    """Six paragraphs, the gold ones the second and the fifth, one sentence three times."""
    context = [
        ["Ada", ["Ada is a ship.", " It is on the Lum."]],
        ["Orr", ["Orr is old.", " It is on the Lum."]],
        ["Bel", ["Bel is a hill."]],
        ["Cor", ["Cor is a ship.", " It is on the Lum.", " It is red."]],
        ["Lum", ["The Lum is 9 km long.", " It is cold."]],
        ["Dun", ["Dun is a town."]],
    ]
    facts = [["Orr", 1], ["Lum", 0]]
    return HOTPOT | {"context": context, "supporting_facts": facts} | changes


def titles(example):
    return [document.split(":")[0] for document in example.documents]


def by_characters(tok, example, sentences):
    """Positions by tokenizing again and looking at each character; `sentences` by their start."""
    offsets = tok(example.prompt, add_special_tokens=False, return_offsets_mapping=True)
    inside = set()
    for start, sentence in sentences:
        assert example.prompt[start : start + len(sentence)] == sentence
        inside |= set(range(start, start + len(sentence)))
    pieces = enumerate(offsets["offset_mapping"])
    return [at for at, (start, end) in pieces if inside & set(range(start, end))]


@pytest.mark.parametrize(
    "template", [None, CHAT_TEMPLATE, NO_SYSTEM_TEMPLATE, DROPS_SYSTEM_TEMPLATE]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_evidence_is_where_the_facts_were_written(family, template):
    tok = copy.copy(tokenizer(family))
    tok.chat_template = template
    (example,) = load([record()], tok)
    body = example.prompt.index("Ada: ")
    # a sentence that stands three times: the second is meant
    again = example.prompt.index("It is on the Lum.", example.prompt.index("Orr: ", body))
    first = example.prompt.index("The Lum is 9 km long.")
    wanted = [(again, "It is on the Lum."), (first, "The Lum is 9 km long.")]
    assert example.evidence.tolist() == by_characters(tok, example, wanted)
    assert example.evidence_text == "It is on the Lum. The Lum is 9 km long."
    spans = example.meta["document_spans"]
    assert [example.prompt[start:end] for start, end in spans] == list(example.documents)
    asked = example.prompt[example.meta["query_start"] :]
    assert asked.startswith("How long is the river of Orr?\nInstruction:\n")


@pytest.mark.parametrize("family", FAMILIES)
def test_evidence_of_the_set_that_ships(family):
    tok = tokenizer(family)
    from retrieval_lens.tasks.hotpotqa import read

    written = {one.id: one for one in read("own")}
    examples = own(tok)
    assert len(examples) == len(written) and not examples.dropped
    for example in examples:
        question = written[example.meta["question_id"]]
        wanted = []
        for index, (title, sentences) in enumerate(question.paragraphs):
            text = f"{title}: {''.join(sentences)}"
            assert example.prompt.count(text) == 1
            at = example.prompt.index(text) + len(title) + 2
            for number, sentence in enumerate(sentences):
                if (index, number) in question.facts:
                    stripped = sentence.strip()
                    wanted.append((at + len(sentence) - len(stripped), stripped))
                at += len(sentence)
        assert len(wanted) == len(question.facts) == example.meta["n_facts"]
        assert example.evidence.tolist() == by_characters(tok, example, wanted)


def test_layout_of_the_prompt():
    tok = copy.copy(BPE)
    tok.chat_template = CHAT_TEMPLATE
    (example,) = load([record()], tok)
    (plain,) = load([record()], tok, chat=False)
    asked = f"\n\nQuestion:\nHow long is the river of Orr?\nInstruction:\n{INSTRUCTION}"
    context = (
        "Ada: Ada is a ship. It is on the Lum.\n\nOrr: Orr is old. It is on the Lum.\n\n"
        "Bel: Bel is a hill.\n\nCor: Cor is a ship. It is on the Lum. It is red.\n\n"
        "Lum: The Lum is 9 km long. It is cold.\n\nDun: Dun is a town."
    )
    system = (
        "You are a helpful AI bot that answers questions for a user. Keep your response short and "
        "direct."
    )
    assert example.context == plain.context == context
    user = f"Context:\n{context}{asked}"
    assert example.prompt == f"<|system|>\n{system}\n<|user|>\n{user}\n<|assistant|>\n"
    assert plain.prompt == f"{system}\n\n{user}\nAnswer:"
    assert (example.id, plain.id) == ("hotpotqa-h1", "hotpotqa-h1@plain")
    assert (example.question, example.answer) == ("How long is the river of Orr?", "9 km")


def test_meta():
    (example,) = load([record()], BPE)
    length = len(example.context)
    first = example.context.index("It is on the Lum.", example.context.index("Orr:"))
    second = example.context.index("The Lum is 9 km long.")
    meta = dict(example.meta)
    assert meta["depth"] == pytest.approx((first + 8.5 + second + 10.5) / 2 / length)
    assert meta["n_tokens"] == len(BPE(example.context, add_special_tokens=False)["input_ids"])
    kept = {"task": "multihop", "dataset": "hotpotqa", "question_id": "h1", "type": "bridge"}
    kept |= {"level": "hard", "seed": 0, "order": "given", "n_paragraphs": 6, "n_facts": 2}
    kept |= {"gold_titles": ["Orr", "Lum"], "gold_documents": [1, 4], "answer_in_facts": True}
    assert kept.items() <= meta.items()
    json.dumps(meta)


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("given", ["Ada", "Orr", "Bel", "Cor", "Lum", "Dun"]),
        ("facts_first", ["Orr", "Lum", "Ada", "Bel", "Cor", "Dun"]),
        ("facts_middle", ["Ada", "Bel", "Orr", "Lum", "Cor", "Dun"]),
        ("facts_last", ["Ada", "Bel", "Cor", "Dun", "Orr", "Lum"]),
    ],
)
def test_orders(order, wanted):
    (example,) = load([record()], BPE, order=order)
    assert titles(example) == wanted
    assert [titles(example)[at] for at in example.meta["gold_documents"]] == ["Orr", "Lum"]
    assert example.evidence_text == "It is on the Lum. The Lum is 9 km long."


def test_shuffled_by_the_seed():
    found = [load([record()], BPE, order="shuffled", seed=seed)[0] for seed in range(20)]
    assert all(sorted(titles(one)) == ["Ada", "Bel", "Cor", "Dun", "Lum", "Orr"] for one in found)
    assert len({tuple(titles(one)) for one in found}) > 10
    assert len({one.id for one in found}) == 20
    for one in found:
        gold = {titles(one)[at] for at in one.meta["gold_documents"]}
        assert gold == set(one.meta["gold_titles"]) == {"Orr", "Lum"}
        sentences = {one.prompt[start:end] for start, end in one.evidence_spans}
        assert sentences == {"It is on the Lum.", "The Lum is 9 km long."}
    again = load([record()], BPE, order="shuffled", seed=3)[0]
    assert (again.prompt, again.id) == (found[3].prompt, found[3].id)


def test_distractors_are_drawn_and_gold_stays():
    found = [load([record()], BPE, n_paragraphs=4, seed=seed)[0] for seed in range(30)]
    given = ["Ada", "Orr", "Bel", "Cor", "Lum", "Dun"]
    for one in found:
        assert len(one.documents) == one.meta["n_paragraphs"] == 4
        assert {"Orr", "Lum"} < set(titles(one))
        assert titles(one) == sorted(titles(one), key=given.index)
    assert len({tuple(titles(one)) for one in found}) == 6  # all pairs out of four
    (bare,) = load([record()], BPE, n_paragraphs=2)
    assert titles(bare) == ["Orr", "Lum"]


def test_the_draw_of_a_question_is_its_own():
    two = [record(), record(_id="h2")]
    drawn = load(two, BPE, n_paragraphs=4, order="shuffled", seed=1)
    alone = load(two[1:], BPE, n_paragraphs=4, order="shuffled", seed=1)
    assert drawn[1].prompt == alone[0].prompt
    assert len({load([record(_id=f"h{i}")], BPE, n_paragraphs=3)[0].prompt for i in range(20)}) == 4


def test_a_cut_context_keeps_the_question():
    (whole,) = load([record()], BPE)
    n_tokens = whole.meta["n_tokens"]
    (example,) = load([record()], BPE, max_tokens=n_tokens - 3)
    assert example.meta["n_tokens"] == n_tokens - 3
    assert whole.context.startswith(example.context) and example.context != whole.context
    assert "Question:\nHow long is the river of Orr?" in example.prompt
    assert example.context.endswith(example.documents[-1])
    (same,) = load([record()], BPE, max_tokens=10_000)
    assert same.prompt == whole.prompt


def test_a_cut_that_touches_a_fact_makes_it_invalid():
    """With every length: valid exactly where the last fact's last character is kept."""
    (whole,) = load([record()], BPE)
    ends = BPE(whole.context, add_special_tokens=False, return_offsets_mapping=True)
    need = whole.context.index("The Lum is 9 km long.") + len("The Lum is 9 km long.")
    offsets = ends["offset_mapping"]
    other = record(_id="kept", supporting_facts=[["Ada", 0]])
    for n_tokens in range(12, len(offsets), 4):
        found = load([record(), other], BPE, max_tokens=n_tokens)
        valid = offsets[n_tokens - 1][1] >= need
        assert [one.meta["question_id"] for one in found] == ["h1"] * valid + ["kept"]
        assert [one.id for one in found.dropped] == ["h1"] * (not valid)
    assert found.dropped == ()
    found = load([record(), other], BPE, max_tokens=20)
    assert found.dropped[0].reason == "max_tokens=20 cuts 2 of 2 facts off"
    assert found[0].meta["n_paragraphs"] == len(found[0].documents) < 6


def test_what_cannot_be_used_is_dropped_counted_and_said():
    twin = [*record()["context"], ["Lum", ["The Lum is 9 km long.", " It is cold."]]]
    unanswered = record(_id="far", answer="12 km")
    found = load(
        [
            record(_id="a", supporting_facts=[["Nix", 0]]),
            record(_id="b", context=twin),
            record(_id="c"),
            record(_id="d", context=record()["context"][:5]),
            record(
                _id="e",
                supporting_facts=[[title, 0] for title, _ in record()["context"]],
            ),
            unanswered,
            record(_id="closed", answer="Yes", type="comparison"),
        ],
        BPE,
        n_paragraphs=5,
    )
    assert [one.meta["question_id"] for one in found] == ["c", "d", "far", "closed"]
    assert [(one.id, one.reason) for one in found.dropped] == [
        ("a", "a fact names the paragraph 'Nix', which is not there"),
        ("b", "a fact names the paragraph 'Lum', which is there 2 times"),
        ("e", "n_paragraphs=5 cuts off some of 6 gold paragraphs"),
    ]
    assert [one.meta["answer_in_facts"] for one in found] == [True, True, False, None]
    summary = found.summary()
    assert summary.startswith("4 questions (3 bridge, 1 comparison), prompts of ")
    assert "; 1 with an answer that stands in no fact; 3 dropped (1: a fact names the" in summary
    assert "\n" not in summary


def test_too_few_paragraphs():
    with pytest.raises(InputError, match="'h1' cannot be used: n_paragraphs=7, but it has 6"):
        load([record()], BPE, n_paragraphs=7)


def test_duplicate_paragraphs():
    """A gold paragraph that stands twice is dropped; another may stand as often as it likes."""
    context = record()["context"]
    copies = [["Ada", context[0][1]], *context, ["Other title", context[4][1]]]
    (example,) = load([record(context=copies)], BPE)
    assert example.meta["gold_documents"] == [2, 5]
    start = example.evidence_spans[1][0]
    assert example.prompt[start - 5 : start] == "Lum: "
    entries = MUSIQUE["paragraphs"]
    doubled = MUSIQUE | {"paragraphs": [*entries, entries[0] | {"is_supporting": False}]}
    with pytest.raises(InputError, match="cannot be used: the paragraph 'Lum' holds a fact twice"):
        load([doubled], BPE, reader="musique")


def test_musique_and_its_aliases():
    (example,) = load([MUSIQUE], BPE, reader="musique")
    assert example.evidence_text == "The Lum is 9 km long. It is on the Lum."
    assert example.meta["gold_documents"] == [0, 2]
    assert example.meta["dataset"] == "musique"
    metrics = rl.tasks.response_metrics(example, "Nine kilometres.", truncated=False)
    assert (metrics["em"], metrics["f1"]) == (1.0, 1.0)


def test_the_hub(monkeypatch):
    import datasets

    def columns(pairs, names):
        return dict(zip(names, map(list, zip(*pairs, strict=True)), strict=True))

    row = record() | {
        "id": "h1",
        "context": columns(record()["context"], ("title", "sentences")),
        "supporting_facts": columns(record()["supporting_facts"], ("title", "sent_id")),
    }
    del row["_id"]
    asked = []

    def load_dataset(*names, split):
        asked.append((*names, split))
        if split == "none":
            raise ValueError("Unknown split")
        return datasets.Dataset.from_list([row])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (example,) = load_hub(BPE, order="facts_first")
    (same,) = load([record()], BPE, order="facts_first")
    assert (example.prompt, dict(example.meta)) == (same.prompt, dict(same.meta))
    assert asked == [("hotpotqa/hotpot_qa", "distractor", "validation")]
    with pytest.raises(InputError, match="split 'none': Unknown split. Download the official file"):
        load_hub(BPE, "none")


def test_files_limits_and_ids(tmp_path):
    path = tmp_path / "dev.json"
    bad = record(_id="bad", supporting_facts=[["Nix", 0]])
    path.write_text(json.dumps([bad, *(record(_id=f"h{i}") for i in range(5))]))
    found = load(path, BPE, limit=2)
    assert isinstance(found, Questions) and isinstance(found, list)
    assert [one.meta["question_id"] for one in found] == ["h0", "h1"]
    assert [one.id for one in found.dropped] == ["bad"]
    assert [one.id for one in load(str(path), BPE)] == [f"hotpotqa-h{i}@plain" for i in range(5)]


def test_refusals():
    with pytest.raises(InputError, match="2 ids stand more than once, the first 'h1'"):
        load([record(), record(), record(_id="2"), record(_id="2"), record(_id="3")], BPE)
    with pytest.raises(InputError, match="question 'h1' cannot be used: a fact names"):
        load([record(supporting_facts=[["Nix", 0]])], BPE)
    with pytest.raises(InputError, match="no question can be used: 0 questions"):
        load([], BPE)
    for name in ("n_paragraphs", "max_tokens", "limit"):
        with pytest.raises(InputError, match=f"wanted {name} >= 1; got 0"):
            load([record()], BPE, **{name: 0})
    with pytest.raises(UnknownNameError, match="no order 'sorted'; known: given, shuffled"):
        load([record()], BPE, order="sorted")
    with pytest.raises(UnknownNameError, match="no reader 'squad'"):
        load([record()], BPE, reader="squad")


def test_a_question_longer_than_the_context_is_refused_by_name():
    (example,) = load([record(question="Which? " * 60)], BPE)
    with pytest.raises(ContextLengthError, match="hotpotqa-h1@plain"):
        check_context(tiny_bridge("llama-gqa"), example, 8)
