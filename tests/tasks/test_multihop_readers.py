import json
from typing import Any

import pytest

from retrieval_lens.errors import FileFormatError, InputError, UnknownNameError
from retrieval_lens.tasks import READERS, Question, Reader, register_reader
from retrieval_lens.tasks.multihop_readers import read_questions

HOTPOT: dict[str, Any] = {
    "_id": "h1",
    "question": " How long is the river of Orr? ",
    "answer": "9 km",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": [["Orr", 1], ["Lum", 0], ["Orr", 1]],
    "context": [["Lum", ["The Lum is 9 km long."]], ["Orr", ["Orr is old.", " It is on the Lum."]]],
}
WIKI = HOTPOT | {
    "_id": "w1",
    "type": "compositional",
    "context": [["Lum", ["The Lum is 9 km long."]], ["Orr", ["Orr is old.", "It is on the Lum."]]],
    "evidences": [["Orr", "river", "Lum"], ["Lum", "length", "9 km"]],
}
MUSIQUE = {
    "id": "2hop__1_2",
    "question": "How long is the river of Orr?",
    "answer": "9 km",
    "answer_aliases": ["nine kilometres"],
    "answerable": True,
    "paragraphs": [
        {
            "idx": 0,
            "title": "Lum",
            "paragraph_text": "The Lum is 9 km long.",
            "is_supporting": True,
        },
        {"idx": 1, "title": "Orr", "paragraph_text": "An Orr of 1900.", "is_supporting": False},
        {"idx": 2, "title": "Orr", "paragraph_text": "It is on the Lum.", "is_supporting": True},
    ],
}


def without(record, *names):
    return {name: value for name, value in record.items() if name not in names}


def read(record, reader="hotpotqa"):
    (found,) = read_questions([record], reader)
    return found


def test_hotpotqa():
    assert read(HOTPOT) == Question(
        id="h1",
        question="How long is the river of Orr?",
        answer="9 km",
        paragraphs=(
            ("Lum", ("The Lum is 9 km long.",)),
            ("Orr", ("Orr is old.", " It is on the Lum.")),
        ),
        facts=((1, 1), (0, 0)),  # in the file's order, each once
        type="bridge",
        level="hard",
    )


def test_the_hubs_columns_are_the_same_question():
    datasets = pytest.importorskip("datasets")
    titles, sentences = zip(*HOTPOT["context"], strict=True)
    facts, numbers = zip(*HOTPOT["supporting_facts"], strict=True)
    row = without(HOTPOT, "_id") | {
        "id": "h1",
        "context": {"title": list(titles), "sentences": list(sentences)},
        "supporting_facts": {"title": list(facts), "sent_id": list(numbers)},
    }
    assert list(read_questions(datasets.Dataset.from_list([row]), "hotpotqa")) == [read(HOTPOT)]
    row["context"]["title"] = ["Lum"]
    with pytest.raises(FileFormatError, match=r"'h1'.*context has columns of 1 and 2 entries"):
        read(row)


def test_2wikimultihopqa_has_a_space_between_sentences():
    found = read(WIKI, "2wikimultihopqa")
    assert found.paragraphs == read(HOTPOT).paragraphs
    assert found.facts == read(HOTPOT).facts
    assert found.extra["evidences"] == WIKI["evidences"]


def test_musique_supports_by_paragraph_and_titles_may_repeat():
    found = read(MUSIQUE, "musique")
    assert found.facts == ((0, 0), (2, 0))
    assert found.paragraphs[2] == ("Orr", ("It is on the Lum.",))
    assert found.extra == {"answer_aliases": ["nine kilometres"]}
    assert (found.id, found.type, found.defect) == ("2hop__1_2", "2hop", "")
    assert "not answerable" in read(MUSIQUE | {"answerable": False}, "musique").defect
    unsupported = [p | {"is_supporting": False} for p in MUSIQUE["paragraphs"]]
    found = read(MUSIQUE | {"paragraphs": unsupported}, "musique")
    assert found.defect == "no paragraph supports the answer"


@pytest.mark.parametrize(("reader", "record"), [("hotpotqa", HOTPOT), ("2wikimultihopqa", WIKI)])
def test_files_of_one_list(tmp_path, reader, record):
    path = tmp_path / "file.json"
    path.write_text(json.dumps([record, record | {"_id": "2"}]))
    assert [one.id for one in read_questions(path, reader)] == [record["_id"], "2"]


def test_files_of_lines(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_text(f"{json.dumps(MUSIQUE)}\n\n{json.dumps(MUSIQUE | {'id': '2'})}\n")
    assert [one.id for one in read_questions(str(path), "musique")] == ["2hop__1_2", "2"]


def test_a_line_ends_at_a_new_line_only(tmp_path):
    first = MUSIQUE["paragraphs"][0]
    text = "The Lum\u2028is 9 km\u0085long."
    record = MUSIQUE | {"paragraphs": [first | {"paragraph_text": text}]}
    path = tmp_path / "file.jsonl"
    line = json.dumps(record, ensure_ascii=False)
    path.write_bytes(f"{line}\r\n{line}\n".encode())
    found = list(read_questions(path, "musique"))
    assert [one.paragraphs for one in found] == [(("Lum", (text,)),)] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,question\n1,Who?", "file.json is not JSON:"),
        ("", "file.json is not JSON:"),
        ('[{"_id": "1"', "file.json is not JSON:"),
        ("[" * 100_000, "file.json is not JSON:"),
        ("\ud800", "file.json is not JSON:"),
        (json.dumps({"data": [HOTPOT]}), "file.json holds one dict; a hotpotqa file is a list"),
        ('["Who?"]', "record 0 of .*file.json is a str, wanted a question"),
        ('[{"title": "Orr", "text": ""}]', "record 0 .* has no field '_id'; it has title, text"),
    ],
)
def test_a_file_that_is_not_hotpotqa(tmp_path, text, message):
    path = tmp_path / "file.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(FileFormatError, match=message):
        list(read_questions(path, "hotpotqa"))


def test_lines_that_are_not_json(tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_text(f"{json.dumps(MUSIQUE)}\nnot this one")
    with pytest.raises(FileFormatError, match="is not JSON lines"):
        list(read_questions(path, "musique"))


@pytest.mark.parametrize("field", ["question", "answer", "supporting_facts", "context"])
def test_missing_and_empty_fields(field):
    with pytest.raises(FileFormatError, match=f"question 'h1' .*has no field '{field}'"):
        read(without(HOTPOT, field))
    empty = " " if isinstance(HOTPOT[field], str) else []
    with pytest.raises(FileFormatError, match=f"question 'h1' .*the field '{field}' is empty"):
        read(HOTPOT | {field: empty})
    with pytest.raises(FileFormatError, match=f"question 'h1' .*the field '{field}' is a int"):
        read(HOTPOT | {field: 3})


@pytest.mark.parametrize(
    ("paragraph", "message"),
    [
        (["Orr", []], "'context' has an empty paragraph, titled 'Orr'"),
        (["Orr", [" ", ""]], "'context' has an empty paragraph, titled 'Orr'"),
        ([" ", ["Orr is old."]], "'context' has an empty paragraph, titled ' '"),
        (["Orr"], r"a paragraph is \[title, sentences\]"),
        (["Orr", "Orr is old."], r"a paragraph is \[title, \[sentence, …\]\]"),
        (["Orr", [1]], r"a paragraph is \[title, \[sentence, …\]\]"),
    ],
)
def test_paragraphs_that_are_none(paragraph, message):
    with pytest.raises(FileFormatError, match=f"question 'h1' .*{message}"):
        read(HOTPOT | {"context": [paragraph]})


@pytest.mark.parametrize("fact", ["Orr", ["Orr"], ["Orr", "1"], ["Orr", True], [0, 0]])
def test_facts_that_are_none(fact):
    with pytest.raises(FileFormatError, match="'h1' .*a supporting fact is .title, sentence index"):
        read(HOTPOT | {"supporting_facts": [fact]})


@pytest.mark.parametrize(
    ("fact", "defect"),
    [
        (["Or", 0], "a fact names the paragraph 'Or', which is not there"),
        (["Orr", 2], "a fact names sentence 2 of 'Orr', which has 2 sentences"),
        (["Orr", -1], "a fact names sentence -1 of 'Orr', which has 2 sentences"),
        (["Lum", 1], "a fact names sentence 1 of 'Lum', which is empty"),
        (["Twin", 0], "a fact names the paragraph 'Twin', which is there 2 times"),
    ],
)
def test_facts_that_are_not_there(fact, defect):
    context = [
        ["Lum", ["The Lum is 9 km long.", " "]],
        HOTPOT["context"][1],
        ["Twin", ["One."]],
        ["Twin", ["Two."]],
    ]
    assert read(HOTPOT | {"context": context}).defect == ""
    facts = [*HOTPOT["supporting_facts"], fact]
    assert read(HOTPOT | {"context": context, "supporting_facts": facts}).defect == defect


@pytest.mark.parametrize("field", ["title", "paragraph_text", "is_supporting"])
def test_musique_paragraphs_without_a_field(field):
    first, *others = MUSIQUE["paragraphs"]
    with pytest.raises(FileFormatError, match=f"2hop__1_2.*paragraph 0 has no field '{field}'"):
        read(MUSIQUE | {"paragraphs": [without(first, field), *others]}, "musique")
    with pytest.raises(FileFormatError, match="2hop__1_2.*paragraph 0 is not a dict"):
        read(MUSIQUE | {"paragraphs": ["text", *others]}, "musique")


@pytest.mark.parametrize("flag", ["false", "true", 0, 1, None, []])
def test_musique_flags_are_true_or_false(flag):
    first, *others = MUSIQUE["paragraphs"]
    wrong = [*others, first | {"is_supporting": flag}]
    with pytest.raises(FileFormatError, match="2hop__1_2.*paragraph 2: .*'is_supporting' is true"):
        read(MUSIQUE | {"paragraphs": wrong}, "musique")
    with pytest.raises(FileFormatError, match="2hop__1_2.*'answerable' is true or false"):
        read(MUSIQUE | {"answerable": flag}, "musique")


def test_musique_aliases():
    for none in (None, [], [" "]):
        found = read(MUSIQUE | {"answer_aliases": none}, "musique")
        assert found.extra == {"answer_aliases": []}
    assert read(without(MUSIQUE, "answer_aliases", "answerable"), "musique").extra == found.extra
    for wrong in ("abc", "", 3, [3], ["a", None], {"a": "b"}):
        with pytest.raises(FileFormatError, match="2hop__1_2.*'answer_aliases' is a list of texts"):
            read(MUSIQUE | {"answer_aliases": wrong}, "musique")


def test_readers_of_your_own(monkeypatch):
    monkeypatch.setattr("retrieval_lens.tasks.multihop_readers.READERS", dict(READERS))

    def question(record, where):
        return Question(record["n"], "Who?", "I", (("I", ("I am.",)),), ((0, 0),))

    register_reader(Reader("mine", question))
    assert read({"n": "7"}, "mine").id == "7"
    with pytest.raises(InputError, match="'mine' is already registered"):
        register_reader(Reader("mine", question))


def test_unknown_names_and_sources(tmp_path):
    with pytest.raises(UnknownNameError, match="no reader 'squad'; known: 2wiki.*musique"):
        list(read_questions([], "squad"))
    with pytest.raises(UnknownNameError, match="no reader None"):
        list(read_questions([], None))
    with pytest.raises(FileNotFoundError, match="no file"):
        list(read_questions(tmp_path / "none.json", "hotpotqa"))
    for source in (3, HOTPOT, b"[]"):
        with pytest.raises(InputError, match="wanted a path or records"):
            list(read_questions(source, "hotpotqa"))
