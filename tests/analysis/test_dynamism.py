"""Every statistic on a case worked by hand, and against NumPy, SciPy and scikit-learn."""

import itertools
import math
from math import exp, isnan, log, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import jaccard_score

from retrieval_lens.analysis import StepSets, dynamism
from retrieval_lens.analysis.nulls import bernoulli_jaccard, jaccard_matrix
from retrieval_lens.errors import InputError
from retrieval_lens.heads import HeadSet
from tests.analysis.by_hand import bernoulli_sets, pick, sets, value

# example a: {0, 1}, {0}, {}; example b: {}, {}, {2, 3}, {0, 2, 3}; four heads in all
A = sets([[0, 1], [0], []], "a")
B = sets([[], [], [2, 3], [0, 2, 3]], "b")
STATIC = HeadSet([(0, 0), (1, 1), (1, 0), (0, 1)])  # heads 0, 3, 2, 1


@pytest.fixture(scope="module")
def frame():
    return dynamism([A, B], STATIC, ks=(2, 3), n_resamples=50)


def test_number_of_active_heads(frame):
    assert value(frame, "mean_active", empty="count") == pytest.approx(8 / 7)
    assert value(frame, "mean_active", empty="skip") == pytest.approx(8 / 4)
    assert value(frame, "mean_active", empty="count", pooled="examples") == (3 / 3 + 5 / 4) / 2
    assert value(frame, "mean_active", empty="skip", pooled="examples") == (3 / 2 + 5 / 2) / 2
    assert value(frame, "std_active", empty="count") == pytest.approx(sqrt(18 / 7 - (8 / 7) ** 2))
    assert value(frame, "std_active", empty="skip") == pytest.approx(sqrt(18 / 4 - 2**2))
    assert value(frame, "empty_share") == pytest.approx(3 / 7)
    assert value(frame, "empty_share", pooled="examples") == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert value(frame, "unique_heads") == value(frame, "total_heads") == 4
    assert value(frame, "unique_share") == 1


def test_overlap_with_the_static_heads(frame):
    # S = {0, 3}: Jaccard 1/3, 1/2, -, -, -, 1/3, 2/3; ceilings 1, 1/2, -, -, -, 1, 2/3
    total = 1 / 3 + 1 / 2 + 1 / 3 + 2 / 3
    assert value(frame, "jaccard_static", 2, "count") == pytest.approx(total / 7)
    assert value(frame, "jaccard_static", 2, "skip") == pytest.approx(total / 4)
    assert value(frame, "jaccard_ceiling", 2, "count") == pytest.approx((1 + 1 / 2 + 1 + 2 / 3) / 7)
    over = (1 / 3 + 1 + 1 / 3 + 1) / 4
    assert value(frame, "jaccard_over_ceiling", 2) == pytest.approx(over)
    assert value(frame, "coverage", 2) == pytest.approx((1 / 2 + 1 + 1 / 2 + 2 / 3) / 4)
    assert value(frame, "precision", 2, "count") == pytest.approx((1 + 1 + 1 + 2) / 2 / 7)
    assert value(frame, "precision", 2, "skip") == pytest.approx((1 + 1 + 1 + 2) / 2 / 4)
    # e = |D| 2/4: overlaps 1, 1, 1, 2 of at most 2, 1, 2, 2, expected 1, 1/2, 1, 3/2
    assert value(frame, "chance_corrected", 2) == pytest.approx((0 + 1 + 0 + 1) / 4)


def test_neighbours(frame):
    # a: 1/2, 0; b: 1 (both empty), 0, 2/3
    assert value(frame, "adjacent_jaccard", empty="count") == pytest.approx((1 / 2 + 1 + 2 / 3) / 5)
    assert value(frame, "adjacent_jaccard", empty="skip") == pytest.approx((1 / 2 + 2 / 3) / 2)
    own = (1 / 4 + (1 + 2 / 3) / 3) / 2
    found = value(frame, "adjacent_jaccard", empty="count", pooled="examples")
    assert found == pytest.approx(own)
    # all pairs: a 1/2, 0, 0; b 1, 0, 0, 0, 0, 2/3; each order has 2 and 3 neighbours
    shuffled = (2 * (1 / 2) / 3 + 3 * (1 + 2 / 3) / 6) / 5
    null = value(frame, "adjacent_jaccard", empty="count", null="shuffled")
    assert null == pytest.approx(shuffled)
    excess = value(frame, "adjacent_jaccard_excess", empty="count", null="shuffled")
    assert excess == pytest.approx((1 / 2 + 1 + 2 / 3) / 5 - shuffled)


def test_spread_over_heads(frame):
    # steps with head 0, 1, 2, 3: 3, 1, 2, 2
    p = np.array([3, 1, 2, 2])
    entropy = stats.entropy(p / p.sum())
    assert value(frame, "entropy") == pytest.approx(entropy)
    assert value(frame, "exp_entropy") == pytest.approx(exp(entropy))
    raw = -(p / 7 * np.log(p / 7)).sum()
    assert value(frame, "entropy_raw", empty="count") == pytest.approx(raw)
    raw = -(p / 4 * np.log(p / 4)).sum()
    assert value(frame, "entropy_raw", empty="skip") == pytest.approx(raw)
    effective = value(frame, "effective_heads", empty="count")
    assert effective == pytest.approx(exp(entropy) / (8 / 7))
    assert value(frame, "effective_heads", empty="skip") == pytest.approx(exp(entropy) / 2)


def test_what_a_value_rests_on(frame):
    assert tuple(pick(frame, "mean_active", empty="count")[["n_examples", "n_steps"]]) == (2, 7)
    assert pick(frame, "coverage", 3).n_steps == 4
    assert pick(frame, "adjacent_jaccard", empty="skip", null="shuffled").n_steps == 2
    assert pick(frame, "adjacent_jaccard_excess", empty="count", null="bernoulli").n_steps == 5
    assert not frame.duplicated(["statistic", "k", "empty", "pooled", "null"]).any()


def test_heads_that_are_always_on_are_not_dynamic_whatever_their_entropy():
    always = [sets([range(45)] * 6, f"e{i}", shape=(6, 8)) for i in range(3)]
    frame = dynamism(always, n_resamples=20)
    assert value(frame, "entropy") == pytest.approx(log(45))
    assert value(frame, "effective_heads", empty="count") == pytest.approx(1)
    for null in (None, "shuffled", "bernoulli"):
        assert value(frame, "adjacent_jaccard", empty="count", null=null) == pytest.approx(1)


def test_independent_heads_are_as_similar_as_the_bernoulli_null_says():
    frame = dynamism(bernoulli_sets(), n_resamples=400)
    for empty, null in itertools.product(("count", "skip"), ("bernoulli", "shuffled")):
        row = pick(frame, "adjacent_jaccard_excess", empty=empty, null=null)
        assert row.low < 0 < row.high
        assert row.high - row.low < 0.03


def test_heads_that_stay_on_for_a_while_exceed_both_nulls():
    blocks = [
        StepSets(one.active[::5].repeat_interleave(5, 0), one.example_id, one.meta)
        for one in bernoulli_sets(12)
    ]
    frame = dynamism(blocks, n_resamples=200)
    for null in ("bernoulli", "shuffled"):
        assert pick(frame, "adjacent_jaccard_excess", empty="skip", null=null).low > 0.1


def test_shuffled_null_is_the_mean_over_all_orders():
    active = A.flat
    neighbours = [
        np.mean([jaccard_matrix(active[[i]], active[[j]]) for i, j in itertools.pairwise(order)])
        for order in itertools.permutations(range(3))
    ]
    frame = dynamism(A, n_resamples=1)
    null = value(frame, "adjacent_jaccard", empty="count", null="shuffled")
    assert null == pytest.approx(np.mean(neighbours))


@pytest.mark.parametrize("p", [[0.3, 0.9, 0.5], [1.0, 0.2, 0.0], [0.01, 0.02, 0.03]])
def test_bernoulli_null_is_the_sum_over_all_pairs_of_sets(p):
    every = [np.array(bits) for bits in itertools.product([False, True], repeat=3)]
    chance = [
        math.prod(q if on else 1 - q for q, on in zip(p, bits, strict=True)) for bits in every
    ]
    count, skip, filled = 0.0, 0.0, 0.0
    for (a, of_a), (b, of_b) in itertools.product(zip(every, chance, strict=True), repeat=2):
        jaccard = 1.0 if not (a | b).any() else (a & b).sum() / (a | b).sum()
        count += of_a * of_b * jaccard
        if a.any() and b.any():
            skip, filled = skip + of_a * of_b * jaccard, filled + of_a * of_b
    found = bernoulli_jaccard(np.array([p]))
    assert [one[0] for one in found] == pytest.approx([count, skip / filled])


def test_bernoulli_null_of_a_large_model_equals_drawing():
    rng = np.random.default_rng(1)
    p = rng.random(1600) ** 4
    a, b = rng.random((2, 2000, 1600)) < p
    drawn = (a & b).sum(1) / (a | b).sum(1)
    assert bernoulli_jaccard(p[None])[1][0] == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 44)


def test_a_large_case_equals_libraries():
    many = bernoulli_sets(5, 20)
    ranking = HeadSet([divmod(i, 8) for i in range(48)])
    frame = dynamism(many, ranking, ks=(7,), n_resamples=20)
    flat = np.concatenate([one.flat for one in many])
    static = np.arange(48) < 7
    jaccard = [jaccard_score(static, step, zero_division=0.0) for step in flat]
    assert value(frame, "jaccard_static", 7, "count") == pytest.approx(np.mean(jaccard))
    neighbours = [
        jaccard_score(a, b, zero_division=1.0)
        for one in many
        for a, b in itertools.pairwise(one.flat)
    ]
    assert value(frame, "adjacent_jaccard", empty="count") == pytest.approx(np.mean(neighbours))
    assert value(frame, "entropy") == pytest.approx(stats.entropy(flat.mean(0)))
    assert value(frame, "std_active", empty="count") == pytest.approx(flat.sum(1).std())
    assert value(frame, "unique_heads") == flat.any(0).sum()


def test_intervals_equal_scipys_bootstrap_over_examples():
    many = bernoulli_sets(30, 10)
    frame = dynamism(many, n_resamples=4000)
    groups = [[one.flat.sum() for one in many if one.meta["haystack"] == name] for name in "01"]
    found = stats.bootstrap(
        groups,
        lambda a, b, axis: np.concatenate([a, b], axis).sum(axis) / 300,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    row = pick(frame, "mean_active", empty="count")
    width = found.high - found.low
    assert row.low == pytest.approx(found.low, abs=0.1 * width)
    assert row.high == pytest.approx(found.high, abs=0.1 * width)
    flat = np.stack([one.flat.sum(0) for one in many])
    rng = np.random.default_rng(7)
    draws = [stats.entropy(flat[rng.integers(0, 30, 30)].sum(0)) for _ in range(2000)]
    row = pick(frame, "entropy")
    assert [row.low, row.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.01)


def test_strata_narrow_the_interval_where_haystacks_differ():
    different = [
        sets([[0, 1, 2, 3]] * 3 if i % 2 else [[0]] * 3, f"e{i}", haystack=str(i % 2))
        for i in range(10)
    ]
    alike = [StepSets(one.active, one.example_id, {"haystack": "x"}) for one in different]
    assert pick(dynamism(different), "mean_active", empty="count").low == 2.5
    assert pick(dynamism(alike), "mean_active", empty="count").low < 2


def test_same_seed_same_table_another_seed_other_intervals():
    many = bernoulli_sets(6, 10)
    first, again = dynamism(many, n_resamples=100), dynamism(many, n_resamples=100)
    other = dynamism(many, n_resamples=100, seed=1)
    assert first.equals(again) and not first.low.equals(other.low)
    assert first.value.equals(other.value)


def test_one_example_has_values_but_no_interval():
    frame = dynamism(B, STATIC, ks=(2,))
    assert frame.low.isna().all() and frame.high.isna().all()
    assert value(frame, "mean_active", empty="count") == 5 / 4


def test_no_active_head_at_all_and_a_single_step():
    frame = dynamism([sets([[], []], "a"), sets([[]], "b")], STATIC, ks=(2,), n_resamples=20)
    assert value(frame, "empty_share") == 1 and value(frame, "mean_active", empty="count") == 0
    assert value(frame, "adjacent_jaccard", empty="count", null="bernoulli") == 1
    for statistic, empty in (
        ("mean_active", "skip"),
        ("entropy", None),
        ("adjacent_jaccard", "skip"),
    ):
        assert isnan(value(frame, statistic, empty=empty)), statistic
    assert isnan(value(frame, "coverage", 2)) and isnan(value(frame, "chance_corrected", 2))
    frame = dynamism(sets([[0]]))
    assert isnan(value(frame, "adjacent_jaccard", empty="count"))


def test_an_example_without_a_value_is_left_out_of_the_mean_of_examples():
    frame = dynamism([sets([[0, 1], [0]], "a"), sets([[], []], "b")], n_resamples=20)
    row = pick(frame, "mean_active", empty="skip", pooled="examples")
    assert row.value == 1.5 and row.n_examples == 1


def test_the_whole_model_as_a_set_leaves_no_room_over_chance():
    frame = dynamism([A, B], STATIC, ks=(4,), n_resamples=20)
    assert value(frame, "coverage", 4) == 1 and isnan(value(frame, "chance_corrected", 4))


@given(
    st.lists(st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6), min_size=1, max_size=4)
)
def test_bounds(examples):
    many = [sets(steps, f"e{i}", shape=(2, 3)) for i, steps in enumerate(examples)]
    ranking = HeadSet([divmod(i, 3) for i in range(6)])
    frame = dynamism(many, ranking, ks=(1, 3), n_resamples=5)
    for k, empty in itertools.product((1, 3), ("count", "skip")):
        jaccard, ceiling = (value(frame, f"jaccard_{of}", k, empty) for of in ("static", "ceiling"))
        assert isnan(jaccard) or jaccard <= ceiling + 1e-12
    entropy = value(frame, "entropy")
    assert isnan(entropy) or -1e-12 <= entropy <= log(6) + 1e-12
    shares = frame[
        frame.statistic.isin(["empty_share", "coverage", "adjacent_jaccard", "precision"])
    ]
    assert shares.value.dropna().between(-1e-12, 1 + 1e-12).all()
    effective = value(frame, "effective_heads", empty="count")
    assert isnan(effective) or effective >= 1 - 1e-9


def test_default_sizes_are_those_of_the_paper_that_the_ranking_has():
    many = bernoulli_sets(2, 5, shape=(8, 16))
    every = [divmod(i, 16) for i in range(128)]
    for n, wanted in ((20, [20]), (60, [20, 50]), (128, [20, 50, 100])):
        frame = dynamism(many, HeadSet(every[:n]), n_resamples=5)
        assert sorted(frame.k.dropna().unique()) == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ks": (5,)}, r"k=5: wanted a whole number in 1..4"),
        ({"ks": (0,)}, r"in 1..4"),
        ({"ks": (2.0,)}, r"in 1..4"),
        ({"ks": (True,)}, r"in 1..4"),
        ({"ks": ()}, "nothing to compare with"),
        ({}, r"ranking has 4 heads; pass ks=\(4,\)"),
        ({"ks": (1,), "static": HeadSet([(2, 0)])}, "out of range"),
        ({"ks": (1,), "static": HeadSet([(0, 0)], example_ids=["b"])}, "must not be judged"),
        ({"ks": (1,), "static": [(0, 0)]}, "must be a HeadSet, not list"),
        ({"ks": (1,), "static": None}, "without a static ranking"),
        ({"ks": (1,), "n_resamples": 0}, "n_resamples"),
        ({"ks": (1,), "confidence": 95}, "confidence"),
        ({"ks": (1,), "seed": -1}, "seed"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message):
    with pytest.raises(InputError, match=message):
        dynamism([A, B], **{"static": STATIC, **arguments})


def test_overlap_with_the_detection_corpus_may_be_allowed():
    static = HeadSet([(0, 0)], example_ids=["b"])
    frame = dynamism([A, B], static, ks=(1,), allow_overlap=True, n_resamples=5)
    assert value(frame, "coverage", 1) == pytest.approx((1 / 2 + 1 + 0 + 1 / 3) / 4)


def test_tensors_stay_as_they_were():
    before = A.active.clone()
    dynamism([A, B], STATIC, ks=(2,), n_resamples=5)
    assert torch.equal(A.active, before)
