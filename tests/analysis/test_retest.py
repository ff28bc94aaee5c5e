"""The same needle in another haystack."""

import itertools
from math import isnan

import numpy as np
import pytest
import torch

from retrieval_lens import analysis
from retrieval_lens.analysis.nulls import jaccard_matrix
from retrieval_lens.errors import InputError
from tests.analysis.by_hand import bernoulli_sets, pick, sets, value

HERE = sets([[0], [0, 1], [], [2], [3]], "here", "coast", tokens=[5, 6, 7, 8, 9])
THERE = sets([[0], [1], [], [3], [3], [3]], "there", "essays", tokens=[5, 6, 7, 1, 9, 2])


def test_steps_are_compared_while_both_wrote_the_same():
    frame = analysis.test_retest([HERE], [THERE], n_resamples=5)
    # steps 0, 1, 2: 1, 1/2, 1 (both empty)
    assert value(frame, "retest_jaccard", empty="count") == pytest.approx(2.5 / 3)
    assert value(frame, "retest_jaccard", empty="skip") == pytest.approx(1.5 / 2)
    assert value(frame, "shared_share") == 3 / 6
    # all pairs, {0}, {0, 1}, {} against {0}, {1}, {}: 1, 0, 0, then 1/2, 1/2, 0, then 0, 0, 1
    assert value(frame, "retest_jaccard", empty="count", null="shuffled") == pytest.approx(3 / 9)
    assert value(frame, "retest_jaccard", empty="skip", null="shuffled") == pytest.approx(2 / 4)
    excess = value(frame, "retest_jaccard_excess", empty="count", null="shuffled")
    assert excess == pytest.approx(2.5 / 3 - 3 / 9)
    assert pick(frame, "retest_jaccard", empty="count").n_steps == 3


def test_the_null_is_the_mean_over_all_orders():
    a, b = HERE.flat[:3], THERE.flat[:3]
    orders = [
        np.mean([jaccard_matrix(a[[i]], b[[j]]) for i, j in enumerate(order)])
        for order in itertools.permutations(range(3))
    ]
    frame = analysis.test_retest([HERE], [THERE], n_resamples=5)
    null = value(frame, "retest_jaccard", empty="count", null="shuffled")
    assert null == pytest.approx(np.mean(orders))


def test_pairs_are_found_whatever_their_order_and_pooled():
    a = [HERE, sets([[0, 1]], "here 1", "coast", tokens=[5], seed=1)]
    b = [sets([[0, 2, 3]], "there 1", "essays", tokens=[5], seed=1), THERE]
    frame = analysis.test_retest(a, b, n_resamples=20)
    assert value(frame, "retest_jaccard", empty="count") == pytest.approx((2.5 + 1 / 4) / 4)
    own = value(frame, "retest_jaccard", empty="count", pooled="examples")
    assert own == pytest.approx((2.5 / 3 + 1 / 4) / 2)


def test_independent_heads_do_not_exceed_the_null_and_repeated_ones_do():
    many = bernoulli_sets(24, 20)

    def side(offset, haystack):
        return [
            analysis.StepSets(
                many[(i + offset) % 24].active,
                f"{haystack} {i}",
                {"haystack": haystack, "needle": "n", "seed": i, "n_tokens": 9, "depth": 0.5},
                tokens=torch.arange(20),
            )
            for i in range(24)
        ]

    key = {"empty": "skip", "null": "shuffled"}
    other = analysis.test_retest(side(0, "a"), side(1, "b"), n_resamples=300)
    row = pick(other, "retest_jaccard_excess", **key)
    assert row.low < 0 < row.high
    same = analysis.test_retest(side(0, "a"), side(0, "b"), n_resamples=300)
    assert value(same, "retest_jaccard", empty="skip") == 1
    assert pick(same, "retest_jaccard_excess", **key).low > 0.3


def test_responses_that_differ_at_once_have_nothing_to_compare():
    there = sets([[0]], "there", "essays", tokens=[4])
    frame = analysis.test_retest([HERE], [there])
    assert value(frame, "shared_share") == 0
    assert isnan(value(frame, "retest_jaccard", empty="count"))
    assert pick(frame, "retest_jaccard", empty="count").n_examples == 0


@pytest.mark.parametrize(
    ("b", "message"),
    [
        ([sets([[0]], "b", "essays", tokens=[1], seed=3)], "no partner with the same needle, seed"),
        ([sets([[0]], "b", "coast", tokens=[1])], "the same haystack"),
        ([sets([[0]], "here", "essays", tokens=[1])], "the same haystack"),
        ([sets([[0]], "b", "essays")], "holds no tokens"),
        ([sets([[0]], "b", "essays", tokens=[1], shape=(3, 2))], "different models"),
        ([THERE, sets([[0]], "b", "workshop", tokens=[1])], "same needle on one side"),
        (
            [analysis.StepSets(HERE.active, "b", {"haystack": "x"}, tokens=HERE.tokens)],
            "lacks needle",
        ),
    ],
)
def test_sides_that_do_not_fit(b, message):
    with pytest.raises(InputError, match=message):
        analysis.test_retest([HERE], b)
