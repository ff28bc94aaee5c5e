import pytest

import retrieval_lens as rl
from retrieval_lens.errors import InputError
from tests.tokenizers_at_hand import tokenizer


@pytest.fixture(scope="module")
def words():
    return tokenizer("byte_level_bpe")


def test_they_go_round_all_places_and_share_no_answer(words):
    found = rl.tasks.needle_examples(
        words, 10, n_tokens=[40, 60], depths=[0, 1], haystacks=["coast", "essays"], first_seed=7
    )
    places = [(one.meta["n_tokens"], one.meta["depth"], one.meta["haystack"]) for one in found]
    assert len(set(places[:8])) == 8 and places[8:] == places[:2]
    assert [one.meta["seed"] for one in found] == list(range(7, 17))
    assert len({one.answer for one in found}) == len({one.id for one in found}) == 10


def test_each_is_the_needle_example_of_its_place(words):
    third = rl.tasks.needle_examples(words, 3, n_tokens=[50], depths=[0, 0.5, 1])[2]
    assert third.prompt == rl.needle_example(words, 50, 1, 2002, "mixed").prompt


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": 2, "depths": []}])
def test_nothing_to_make_is_refused(words, arguments):
    with pytest.raises(InputError, match="wanted n >= 1 and at least one place"):
        rl.tasks.needle_examples(words, **arguments)
