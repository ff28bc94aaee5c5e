"""Intervals and tests, against SciPy and by hand."""

import itertools
from math import isnan, nan
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from retrieval_lens.analysis import bootstrap_mean, holm, mcnemar, paired_bootstrap, wilson
from retrieval_lens.analysis.drawing import percentile_ends, resample_weights
from retrieval_lens.errors import InputError, NumericalError

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=40)


def test_the_interval_of_a_mean_is_near_the_exact_one():
    found = bootstrap_mean(VALUES, n_resamples=5000)
    exact = stats.t.interval(0.95, 39, VALUES.mean(), stats.sem(VALUES))
    assert found.value == VALUES.mean() and found.n == 40
    assert [found.low, found.high] == pytest.approx(exact, abs=0.03)


def test_every_resample_of_two_values_by_hand():
    # 00, 01, 10, 11 alike: the 25 % quantile is 0, the 75 % quantile 1
    found = bootstrap_mean([0, 1], confidence=0.45, n_resamples=4000)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)
    found = bootstrap_mean([0, 1], confidence=0.55, n_resamples=4000)
    assert (found.low, found.high) == (0, 1)


def test_weights_and_scipys_draws_give_the_same_interval():
    strata = np.arange(40) % 3
    found = bootstrap_mean(VALUES, strata, n_resamples=20000)
    weights = resample_weights(40, strata, 20000, seed=9)
    ends = percentile_ends(weights @ VALUES / 40, 0.95)
    assert [found.low, found.high] == pytest.approx(ends, abs=0.01)


def test_strata_are_drawn_apart():
    found = bootstrap_mean([0, 0, 0, 1, 1, 1], "aaabbb")
    assert found.low == found.high == 0.5
    assert bootstrap_mean([0, 0, 0, 1, 1, 1]).low < 0.5
    weights = resample_weights(5, "ababa", 50, seed=0)
    assert (weights[:, ::2].sum(1) == 3).all() and (weights[:, 1::2].sum(1) == 2).all()


def test_a_lone_example_is_not_a_stratum():
    weights = resample_weights(4, "aaab", 200, seed=0)
    assert (weights.sum(1) == 4).all() and weights[:, 3].std() > 0


def test_one_example_has_no_interval():
    found = bootstrap_mean([0.25], ["x"])
    assert found.value == 0.25 and isnan(found.low) and isnan(found.high) and found.n == 1
    pair = paired_bootstrap([1.0], [0.5])
    assert pair.value == 0.5 and isnan(pair.p) and isnan(pair.low)


def test_pairs_are_compared_within_examples():
    base = RNG.normal(0, 100, size=30)
    found = paired_bootstrap(base + RNG.normal(1, 0.5, size=30), base)
    assert 0.7 < found.low < found.value < found.high < 1.3
    assert found.p == 2 / 2001


def test_p_of_no_difference_is_one():
    assert paired_bootstrap([0.1, 0.7, 0.3], [0.1, 0.7, 0.3]).p == 1
    found = paired_bootstrap([0.1, -0.1] * 10, [0] * 20)
    assert found.p > 0.8


def test_resamples_on_zero_count_on_both_sides():
    # -1, 0, 0, 1 alike: three quarters on either side
    assert paired_bootstrap([1, -1], [0, 0]).p == 1
    # 0.1 + 0.2 - 0.3 is not 0 in floats
    tenths, ones = (
        paired_bootstrap([0.1, 0.2, -0.3], [0] * 3),
        paired_bootstrap([1, 2, -3], [0] * 3),
    )
    assert tenths.p == ones.p


def test_p_agrees_with_a_permutation_test():
    a = np.random.default_rng(3).normal(0.35, 1, size=50)
    exact = stats.permutation_test(
        (a, np.zeros(50)),
        lambda x, y, axis: (x - y).mean(axis),
        permutation_type="samples",
        n_resamples=5000,
        rng=np.random.default_rng(0),
    )
    assert paired_bootstrap(a, np.zeros(50), n_resamples=5000).p == pytest.approx(
        exact.pvalue, abs=0.03
    )


def test_p_is_uniform_enough_where_nothing_differs():
    rng = np.random.default_rng(1)
    found = [
        paired_bootstrap(rng.normal(size=40), rng.normal(size=40), n_resamples=200).p < 0.05
        for _ in range(300)
    ]
    assert 0.02 < np.mean(found) < 0.1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_mcnemar_is_the_binomial_sum(outcomes):
    a, b = zip(*outcomes, strict=True)
    found = mcnemar(a, b)
    only_a = sum(x and not y for x, y in outcomes)
    only_b = sum(y and not x for x, y in outcomes)
    n = only_a + only_b
    flips = [sum(flip) for flip in itertools.product((0, 1), repeat=n)]
    extreme = np.mean([abs(f - n / 2) >= abs(only_a - n / 2) for f in flips])
    assert (found.only_a, found.only_b, found.n) == (only_a, only_b, len(outcomes))
    assert found.p == pytest.approx(extreme)


def test_wilson_is_its_formula():
    z, p, n = stats.norm.ppf(0.975), 0.3, 20
    centre, half = (p + z * z / 2 / n), z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    found = wilson(6, 20)
    ends = [(centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)]
    assert [found.low, found.high] == pytest.approx(ends)
    assert found.value == 0.3 and found.n == 20
    assert wilson(0, 5).low == 0 and wilson(0, 5).high > 0.4


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, the last raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.2]).tolist() == [0.2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_raw_value_and_bonferroni(raw):
    with mock.patch("gc.collect"):  # statsmodels calls it each time: a third of a second here
        adjusted = holm(raw)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1, len(raw) * np.array(raw)) + 1e-12).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bootstrap_mean([]), InputError, "shape"),
        (lambda: bootstrap_mean([[1.0]]), InputError, "shape"),
        (lambda: bootstrap_mean(["x"]), InputError, "one number"),
        (lambda: bootstrap_mean([1.0, nan]), NumericalError, "value 1 is nan"),
        (lambda: bootstrap_mean([1.0, 2.0], "abc"), InputError, "3 strata for 2"),
        (lambda: bootstrap_mean([1.0, 2.0], confidence=1.0), InputError, "confidence"),
        (lambda: bootstrap_mean([1.0, 2.0], n_resamples=0), InputError, "n_resamples"),
        (lambda: bootstrap_mean([1.0, 2.0], seed=-1), InputError, "seed"),
        (lambda: paired_bootstrap([1.0], [1.0, 2.0]), InputError, "equal lengths"),
        (lambda: mcnemar([0, 1], [0, 2]), InputError, "0/1"),
        (lambda: mcnemar([0, nan], [0, 1]), NumericalError, "nan"),
        (lambda: wilson(3, 2), InputError, "3 of 2"),
        (lambda: wilson(0, 0), InputError, "n >= 1"),
        (lambda: wilson(0.5, 2), InputError, "whole numbers"),
        (lambda: holm([]), InputError, "shape"),
        (lambda: holm([0.5, 1.5]), InputError, "between 0 and 1"),
        (lambda: holm([nan]), NumericalError, "nan"),
    ],
)
def test_what_cannot_be_computed(call, error, message):
    with pytest.raises(error, match=message):
        call()
