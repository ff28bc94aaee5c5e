"""Unique heads against the number of steps."""

import itertools

import numpy as np
import pytest

from retrieval_lens.analysis import unique_heads_curve
from retrieval_lens.errors import InputError
from tests.analysis.by_hand import bernoulli_sets, sets


def test_one_example_counts_heads_from_their_first_step_on():
    curve = unique_heads_curve(sets([[0], [], [0, 2], [1]]))
    assert curve.n_steps.tolist() == [1, 2, 3, 4]
    assert curve.value.tolist() == curve.low.tolist() == curve.high.tolist() == [1, 1, 2, 3]
    assert curve.share.tolist() == [0.25, 0.25, 0.5, 0.75]


def test_the_mean_is_over_all_orders_of_the_examples():
    many = [sets([[0], [1]], "a"), sets([[0]], "b"), sets([[2, 3], [], [0]], "c")]
    curve = unique_heads_curve(many, n_orders=4000)
    orders = [
        [np.concatenate([many[i].flat for i in order])[:n].any(0).sum() for n in range(1, 7)]
        for order in itertools.permutations(range(3))
    ]
    assert curve.value.to_numpy() == pytest.approx(np.mean(orders, 0), abs=0.03)
    assert curve.iloc[-1].low == curve.iloc[-1].high == 4


def test_it_ends_at_all_heads_ever_active_and_never_falls():
    many = bernoulli_sets(10, 30)
    curve = unique_heads_curve(many, n_points=20)
    assert curve.value.iloc[-1] == np.concatenate([one.flat for one in many]).any(0).sum()
    assert curve.n_steps.iloc[-1] == 300 and 15 <= len(curve) <= 20
    assert curve.value.is_monotonic_increasing and (curve.low <= curve.high).all()
    assert curve.equals(unique_heads_curve(many, n_points=20))


def test_arguments_that_cannot_be_used():
    with pytest.raises(InputError, match="at least 2"):
        unique_heads_curve(sets([[0]]), n_points=1)
    with pytest.raises(InputError, match="n_resamples"):
        unique_heads_curve(sets([[0]]), n_orders=0)
