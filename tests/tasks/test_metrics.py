import pytest
import torch

from retrieval_lens.tasks import RetrievalExample, response_metrics

ANSWER = "0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f"
SENTENCE = f"The magic word is {ANSWER}."


def example(answer=ANSWER):
    return RetrievalExample(
        "x", SENTENCE, torch.arange(4), torch.tensor([1]), ((0, len(SENTENCE)),), answer
    )


def test_the_whole_sentence():
    metrics = response_metrics(example(), SENTENCE, truncated=False)
    assert metrics == {"exact": 1.0, "answer_chars": 1.0, "rouge_l": 1.0, "truncated": 0.0}


def test_one_character_off_is_not_exact():
    metrics = response_metrics(example(), ANSWER[:-1] + "0", truncated=True)
    assert metrics["exact"] == 0.0
    assert metrics["answer_chars"] == pytest.approx(35 / 36)
    assert metrics["truncated"] == 1.0
    # 4 of the needle's 9 words are in the response's 5: recall 4/9, precision 4/5
    assert metrics["rouge_l"] == pytest.approx(2 * (4 / 9) * (4 / 5) / (4 / 9 + 4 / 5))


def test_a_wholly_wrong_uuid_keeps_four_ninths_of_rouge():
    wrong = "The magic word is zzzzzzzz-yyyy-xxxx-wwww-vvvvvvvvvvvv."
    metrics = response_metrics(example(), wrong, truncated=False)
    assert metrics["rouge_l"] == pytest.approx(4 / 9)
    only = response_metrics(example(), wrong[18:], truncated=False)
    assert only["answer_chars"] == pytest.approx(4 / 36)  # the four hyphens, nothing else


def test_answer_chars_is_a_subsequence_not_a_set():
    metrics = response_metrics(example("abcd"), "dcba", truncated=False)
    assert metrics["answer_chars"] == 0.25


def test_without_an_answer():
    assert set(response_metrics(example(""), "x", truncated=False)) == {"rouge_l", "truncated"}


def question(answer, aliases=()):
    meta = {"task": "multihop", "answer_aliases": list(aliases)}
    ids = torch.arange(4)
    spans = ((0, len(SENTENCE)),)
    return RetrievalExample("x", SENTENCE, ids, torch.tensor([1]), spans, answer, meta=meta)


def measured(answer, response, aliases=()):
    metrics = response_metrics(question(answer, aliases), response, truncated=True)
    assert metrics["truncated"] == 1.0
    return metrics["exact"], metrics["em"], metrics["f1"]


def test_multihop_questions_have_em_and_f1():
    assert measured("the Orle", "Orle.") == (1.0, 1.0, 1.0)
    assert measured("the Orle", "The answer is the river Orle.") == (1.0, 0.0, pytest.approx(2 / 3))
    assert measured("Vasp", "Orle") == (0.0, 0.0, 0.0)
    needle = response_metrics(example(), SENTENCE, truncated=False)
    assert not {"em", "f1"} & set(needle)


def test_yes_and_no_are_words():
    assert measured("no", "I know it not.") == (0.0, 0.0, 0.0)
    assert measured("no", "No, they were built apart.") == (1.0, 1.0, 1.0)
    assert measured("yes", "No, though one would say yes.") == (1.0, 0.0, 0.0)


def test_the_best_of_several_answers_counts():
    assert measured("Lady Ansel", "the schooner", ["schooner", "ship"]) == (1.0, 1.0, 1.0)
    assert measured("Lady Ansel", "the schooner") == (0.0, 0.0, 0.0)


def test_a_question_without_an_answer():
    assert set(response_metrics(question(""), "x", truncated=False)) == {"rouge_l", "truncated"}
