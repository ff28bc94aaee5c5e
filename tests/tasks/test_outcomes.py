import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_lens.tasks import response_outcome
from retrieval_lens.tasks.outcomes import OUTCOMES

ANSWER = "3f2a9c1e-7b4d-48f0-a62e-5d91c07b3e84"  # 36 characters: a piece has nine


@pytest.mark.parametrize(
    "response",
    [
        ANSWER,
        f"The magic word is {ANSWER}.",
        f"I don't know, perhaps {ANSWER}?",
        f"{ANSWER[:20]} no, {ANSWER}",
    ],
)
@pytest.mark.parametrize("truncated", [False, True])
def test_exact(response, truncated):
    assert response_outcome(ANSWER, response, truncated) == "exact"


@pytest.mark.parametrize("n", [9, 10, 20, 35])
def test_cut_by_the_limit_while_right_so_far(n):
    response = f"The magic word is {ANSWER[:n]}"
    assert response_outcome(ANSWER, response, True) == "truncated"
    assert response_outcome(ANSWER, response, False) == "partial"  # it ended there by itself


def test_cut_by_the_limit_elsewhere():
    assert response_outcome(ANSWER, f"It is {ANSWER[:8]}", True) == "fluent_wrong"  # too short
    assert response_outcome(ANSWER, f"It is {ANSWER[:20]}00", True) == "partial"  # went wrong
    assert response_outcome(ANSWER, f"{ANSWER[10:30]}", True) == "partial"  # not from its start
    assert response_outcome(ANSWER, "Once upon a time there", True) == "fluent_wrong"
    assert response_outcome(ANSWER, "I don't know what", True) == "refusal"


@pytest.mark.parametrize(
    "response",
    [
        f"The magic word is {ANSWER[:9]}.",
        f"The magic word is {ANSWER[14:23]} and so on",
        f"{ANSWER[:-1]}5",
        f"I'm not sure, but {ANSWER[5:20]}.",
    ],
)
def test_partial(response):
    assert response_outcome(ANSWER, response, False) == "partial"


def test_a_piece_in_a_long_response():
    story = "0123456789abcdef- " * 20
    assert response_outcome(ANSWER, f"{story}{ANSWER[:12]} {story}", False) == "partial"
    assert response_outcome(ANSWER, story, False) == "fluent_wrong"


def test_a_piece_too_short_to_count():
    assert response_outcome(ANSWER, f"It is {ANSWER[:8]}.", False) == "fluent_wrong"
    pieces = " ".join(ANSWER[i : i + 8] for i in range(0, 36, 9))  # in one run, not in several
    assert response_outcome(ANSWER, pieces, False) == "fluent_wrong"


@pytest.mark.parametrize(
    "response",
    [
        "I don't know.",
        "I don\u2019t know.",
        "I do not have that information.",
        "Sorry, I cannot find it.",
        "I can\u2019t tell.",
        "I couldn\u2019t find a magic word.",
        "I am unable to answer this.",
        "I'm sorry, but there is none.",
        "I\u2019m not sure.",
        "Not sure.",
        "The magic word is unknown.",
        "There is no mention of a magic word.",
        "There is no information about it.",
        "The magic word is not mentioned in the text.",
        "The magic word isn\u2019t given.",
        "It was not stated.",
        "The passage does not say.",
        "The passage doesn\u2019t specify it, it DOES NOT CONTAIN it.",
        "The words are not found.",
    ],
)
def test_refusal(response):
    assert response_outcome(ANSWER, response, False) == "refusal"


@pytest.mark.parametrize(
    "response",
    [
        "",
        " ",
        "The magic word is abracadabra.",
        "The magic word is 00000000-1111-4222-8333-444444444444.",
        "The harbour was quiet, and the boats lay still.",
        "I know the magic word: it is love.",
        "Nobody can say it better.",
    ],
)
def test_fluent_but_wrong(response):
    assert response_outcome(ANSWER, response, False) == "fluent_wrong"


def test_without_an_answer():
    assert response_outcome("", "", False) == "fluent_wrong"
    assert response_outcome("", "", True) == "fluent_wrong"
    assert response_outcome("", "anything at all", True) == "fluent_wrong"
    assert response_outcome("", "I don't know.", False) == "refusal"


def test_short_answers():
    """At least four characters in a row: of a shorter answer there is no piece."""
    assert response_outcome("Rex", "Re", True) == "fluent_wrong"
    assert response_outcome("Rex", "His name was Rex.", False) == "exact"
    assert response_outcome("otter", "an otte", True) == "truncated"
    assert response_outcome("otter", "an otte", False) == "partial"
    assert response_outcome("otter", "an ott", True) == "fluent_wrong"


def test_two_random_answers_hardly_ever_share_a_piece():
    draw = random.Random(0)
    pairs = [
        [str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in "ab"] for _ in range(1000)
    ]
    outcomes = [response_outcome(a, f"The magic word is {b}.", False) for a, b in pairs]
    assert outcomes.count("partial") <= 1
    assert outcomes.count("fluent_wrong") >= 999


@given(st.text(max_size=40), st.text(max_size=60), st.booleans())
def test_every_response_has_one_outcome(answer, response, truncated):
    outcome = response_outcome(answer, response, truncated)
    assert outcome in OUTCOMES
    assert (outcome == "exact") == (answer != "" and answer in response)
    assert truncated or outcome != "truncated"


@pytest.mark.parametrize(
    ("answer", "response", "outcome"),
    [
        ("yes", "Yes.", "exact"),
        ("no", "I know it.", "fluent_wrong"),
        ("no", "I don't know.", "refusal"),
        ("the Grey Heron", "grey heron", "exact"),
        ("the Grey Heron", "It was the Heron.", "partial"),
        ("the Grey Heron", "It was the herons.", "fluent_wrong"),
        ("311", "3110", "fluent_wrong"),
        ("", "anything", "fluent_wrong"),
    ],
)
def test_answers_in_words(answer, response, outcome):
    assert response_outcome(answer, response, False, words=True) == outcome


def test_answers_in_words_cut_by_the_limit():
    assert response_outcome("Patient Marten", "the patient m", True, words=True) == "truncated"
    assert response_outcome("Patient Marten", "the patient m", False, words=True) == "partial"
