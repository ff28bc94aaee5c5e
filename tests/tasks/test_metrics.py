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
