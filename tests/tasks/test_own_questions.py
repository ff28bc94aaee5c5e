"""The multi-hop set that ships: what each question claims is checked against its paragraphs."""

import json
from collections import Counter
from importlib.resources import files

import pytest

from retrieval_lens.tasks import normalize_answer
from retrieval_lens.tasks.qa_metrics import holds_answer

RECORDS = json.loads((files("retrieval_lens.tasks") / "multihop" / "questions.json").read_text())


def test_how_many_of_which_kind():
    kinds = Counter(record["type"] for record in RECORDS)
    closed = [record for record in RECORDS if record["answer"] in ("yes", "no")]
    assert kinds == {"bridge": 38, "comparison": 23}
    assert all(record["type"] == "comparison" for record in closed)
    assert Counter(record["answer"] for record in closed) == {"yes": 7, "no": 6}
    assert sum(len(record["supporting_facts"]) > 2 for record in RECORDS) >= 3


def test_ids_and_questions_are_distinct():
    for field in ("_id", "question"):
        assert len({record[field] for record in RECORDS}) == len(RECORDS)


def test_a_paragraph_is_the_same_wherever_it_stands():
    texts = {}
    for record in RECORDS:
        for title, sentences in record["context"]:
            assert texts.setdefault(title, sentences) == sentences
    assert len(texts) == 68 and all(3 <= len(text) <= 5 for text in texts.values())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["_id"])
def test_each_question(record):
    fields = ["_id", "question", "answer", "type", "level", "supporting_facts", "context"]
    assert list(record) == fields and record["question"].endswith("?")
    context = dict(record["context"])
    assert len(context) == len(record["context"]) == 10  # no title twice
    for sentences in context.values():
        assert sentences[0] == sentences[0].strip()
        assert all(one == f" {one.strip()}" and one[-1] == "." for one in sentences[1:])
    facts = [context[title][index] for title, index in record["supporting_facts"]]
    gold = {title for title, _ in record["supporting_facts"]}
    assert len(facts) >= 2 and len(gold) >= 2
    others = {title: " ".join([title, *context[title]]) for title in context if title not in gold}
    if record["answer"] not in ("yes", "no"):
        assert holds_answer(" ".join(facts), record["answer"])
        assert not any(holds_answer(text, record["answer"]) for text in others.values())
    if record["type"] == "bridge":
        assert not holds_answer(record["question"], record["answer"])
    else:  # the two things that are compared are the gold paragraphs, and no other names them
        assert all(holds_answer(record["question"], title) for title in gold)
        assert not any(holds_answer(text, title) for text in others.values() for title in gold)
    if record["type"] == "comparison" and record["answer"] not in ("yes", "no"):
        assert normalize_answer(record["answer"]) in map(normalize_answer, gold)
