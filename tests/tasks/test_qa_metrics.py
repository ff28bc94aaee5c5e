import re
import string
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retrieval_lens.tasks import (
    RetrievalExample,
    exact_match,
    extract_answer,
    f1,
    normalize_answer,
    precision_recall,
)
from retrieval_lens.tasks.qa_metrics import accepted_answers


def by_the_rules(prediction, answer):
    """The official rules, written down once more: em, f1, precision, recall."""

    def normal(text):
        kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())

    one, two = normal(prediction), normal(answer)
    em = float(one == two)
    if one != two and {one, two} & {"yes", "no", "noanswer"}:
        return em, 0.0, 0.0, 0.0
    shared = 0
    left = two.split()
    for word in one.split():
        if word in left:
            left.remove(word)
            shared += 1
    if shared == 0:
        return em, 0.0, 0.0, 0.0
    precision, recall = shared / len(one.split()), shared / len(two.split())
    return em, 2 * precision * recall / (precision + recall), precision, recall


CASES = [
    ("the Orle", "Orle", 1.0, 1.0),
    ("Orle-Bay", "orlebay", 1.0, 1.0),  # punctuation goes, and leaves no gap
    ("a.an.the", "aanthe", 1.0, 1.0),  # punctuation goes before the articles
    ("the a an", "", 1.0, 0.0),  # nothing left: the same, but no word is shared
    ("", "Orle", 0.0, 0.0),
    ("yes", "yes", 1.0, 1.0),
    ("Yes.", "yes", 1.0, 1.0),
    ("yes", "no", 0.0, 0.0),
    ("yes it is", "yes", 0.0, 0.0),  # shares a word, and the rule forbids it
    ("no", "no man", 0.0, 0.0),
    ("no answer", "noanswer", 0.0, 0.0),
    ("yes it is", "yes it was", 0.0, 2 / 3),
    ("red red red", "red blue", 0.0, 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2)),  # counted once
    ("red red", "red red blue", 0.0, 0.8),
    ("The River Orle", "River Orle valley", 0.0, 0.8),
    ("\u201cOrle\u201d", "Orle", 0.0, 0.0),  # only ASCII punctuation goes
    ("1,207", "1207", 1.0, 1.0),
]


@pytest.mark.parametrize(("prediction", "answer", "em", "score"), CASES)
def test_cases_worked_by_hand(prediction, answer, em, score):
    assert exact_match(prediction, answer) == em
    assert f1(prediction, answer) == pytest.approx(score)


words = st.sampled_from(
    [
        "yes",
        "no",
        "noanswer",
        "the",
        "a",
        "An",
        "Orle",
        "orle,",
        "red",
        "Red.",
        "x-ray",
        "o'er",
        "\u00e9",
    ]
)
texts = st.lists(words, max_size=6).map(" ".join) | st.text(max_size=20)


@given(texts, texts)
def test_equal_to_the_official_rules(prediction, answer):
    em, score, precision, recall = by_the_rules(prediction, answer)
    assert exact_match(prediction, answer) == em
    assert f1(prediction, answer) == pytest.approx(score, abs=1e-12)
    assert precision_recall(prediction, answer) == pytest.approx((precision, recall), abs=1e-12)


def test_the_cases_reach_every_rule():
    kinds = Counter(by_the_rules(one, two)[1] > 0 for one, two, *_ in CASES)
    assert min(kinds.values()) > 5
    assert normalize_answer(" The  RIVER, an Orle!\n") == "river orle"


WITH_STOPS = [
    "no. 4",
    "No. 4",
    "No.4",
    "the town No. 2 for the first time",
    "No. 61 Squadron",
    "Nos. 3 and 4",
    "No-liner",
    "Yes-sayers of Vasp",
    "Orle v. Vasp",
    "Orle vs. The Sallows",
    "Lt. Col. Egil Sallow",
    "Sgt. Maj. Orr",
    "Mt. Lum",
    "Ft. Vasp",
    "approx. 9 km",
    "Orle! Inc.",
    "Vasp Ltd.",
    "Orle & Co. Ltd.",
    "Orle Corp. of Vasp",
    "Sept. 3, 1907",
    "Egil Orr Jr.",
    "Orr! at the Port",
    "the U.S. Navy",
    "J. Orr",
    "Matthis V.",
]


@pytest.mark.parametrize("answer", WITH_STOPS)
@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "{}.",
        "The answer is {}.",
        "{}\nIt was so.",
        "The answer is {}. It was so.",
        "{}. They were. The end.",
    ],
)
def test_a_full_stop_inside_an_answer(answer, form):
    assert exact_match(extract_answer(form.format(answer)), answer) == 1.0


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("Orle Inc. It was so.", "Orle Inc"),  # one full stop ends both
        ("Egil Orr Jr. He sailed.", "Egil Orr Jr"),
        ("It was in the U.S. The yard is there.", "It was in the U.S"),
        ("No. It has 3.", "No"),
        ("No - they were not.", "No"),
        ("No -- they were not.", "No"),
        ("There were no. They left.", "There were no"),
        ("Orle! It was so.", "Orle"),
    ],
)
def test_a_sentence_ends_all_the_same(response, answer):
    assert extract_answer(response) == answer


def test_accepted_answers():
    ids = torch.tensor([1, 2])
    one = RetrievalExample("a", "x y", ids, torch.tensor([0]), ((0, 1),), answer="Orle")
    assert accepted_answers(one) == ["Orle"]
    assert accepted_answers(replace(one, meta={"answer_aliases": None})) == ["Orle"]
    assert accepted_answers(replace(one, meta={"answer_aliases": ["Lum"]})) == ["Orle", "Lum"]


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("Ostrelby", "Ostrelby"),
        (" Ostrelby.", "Ostrelby"),
        ('"Ostrelby".', "Ostrelby"),
        ("**Ostrelby**\n", "Ostrelby"),
        ("\u201cNight glass\u201d.", "Night glass"),
        ("The answer is Ostrelby.", "Ostrelby"),
        ("The yard is there, so the answer is: Ostrelby. It lies at the sea.", "Ostrelby"),
        ("The answer to the question is Ostrelby.", "Ostrelby"),
        ("Answer: Ostrelby", "Ostrelby"),
        ("Let me see.\n**Answer:** Ostrelby", "Ostrelby"),
        ("The final answer:\nOstrelby\nfor sure", "Ostrelby"),
        ("Ostrelby. The yard is there.", "Ostrelby"),
        ("Ostrelby\nThe yard is there.", "Ostrelby"),
        ("\n\nOstrelby\n\nQuestion:\nWho?\nAnswer: Pike", "Ostrelby"),
        ("Ostrelby\nContext: the answer is Pike", "Ostrelby"),
        ("It is in Ostrelby.", "It is in Ostrelby"),
        ("J. Orr of St. Vasp. He sailed.", "J. Orr of St. Vasp"),
        ("3.5 kilometres! Or so.", "3.5 kilometres"),
        ("Matthis and Egil Sallow", "Matthis and Egil Sallow"),
        ("Yes", "Yes"),
        ("Yes, both were.", "Yes"),
        ("no. They were not.", "no"),
        ("The answer is no, because of it.", "no"),
        ("No one knows.", "No one knows"),
        ("Not at all.", "Not at all"),
        ("", ""),
        (" \n. ", ""),
        ("Question: Who?", ""),
    ],
)
def test_the_answer_is_taken_from_a_response(response, answer):
    assert extract_answer(response) == answer
    assert extract_answer(extract_answer(response)) == answer
