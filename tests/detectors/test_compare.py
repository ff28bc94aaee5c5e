import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

import retrieval_lens as rl
from retrieval_lens.detectors import Detection, compare_heads, split_half
from retrieval_lens.detectors.agreement import places
from retrieval_lens.detectors.base import question_groups
from retrieval_lens.errors import InputError
from retrieval_lens.files import load_json, save_json
from tests.detectors.made import detection, example, trace

# two layers of four heads
A = detection([[[9, 8, 7, 6], [5, 4, 3, 2]]])
B = detection([[[9, 7, 8, 1], [6, 5, 4, 3]]])


def test_a_case_worked_by_hand():
    found = compare_heads(A, B, k=4)
    # A: L0H0 L0H1 L0H2 L0H3; B: L0H0 L0H2 L0H1 L1H0
    assert found["overlap"] == 0.75 and found["shared"] == ["L0H0", "L0H1", "L0H2"]
    assert found["jaccard"] == 3 / 5 and found["overlap_expected"] == 0.75
    assert (found["ties_a"], found["ties_b"]) == (0, 0)
    assert (found["k"], found["n_heads"], found["chance_overlap"]) == (4, 8, 0.5)
    # differences of rank: 0 1 1 4 1 1 1 1; rho = 1 - 6 * 22 / (8 * 63)
    assert found["rank_correlation"] == pytest.approx(1 - 6 * 22 / (8 * 63))
    assert (found["n_ranked"], found["rank_correlation_note"]) == (8, None)


def test_frames_and_head_sets_compare_as_detections_do():
    expected = compare_heads(A, B, k=3)
    for a, b in product((A, A.frame(), A.heads()), (B, B.frame(), B.heads())):
        found = compare_heads(a, b, k=3)
        for name in ("overlap", "jaccard", "shared", "rank_correlation", "n_heads"):
            assert found[name] == expected[name]
    assert compare_heads(A.heads(), B.heads(), k=3)["split_half_a"] is None


def test_a_list_agrees_with_itself():
    found = compare_heads(A, A, k=5)
    assert (found["overlap"], found["jaccard"], found["overlap_expected"]) == (1, 1, 1)
    assert found["rank_correlation"] == pytest.approx(1)


def test_ranks_of_ties_are_averaged():
    x, y = [3.0, 0.0, 0.0, 0.0, 2.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0, 3.0, 2.0, 2.0, 1.0]
    found = compare_heads(detection([[x[:4], x[4:]]]), detection([[y[:4], y[4:]]]), k=1)
    r, s = rankdata(x) - 4.5, rankdata(y) - 4.5
    assert found["rank_correlation"] == pytest.approx(r @ s / math.sqrt((r @ r) * (s @ s)))
    assert found["rank_correlation"] != pytest.approx(kendalltau(x, y).statistic)


def test_ties_at_the_cut_do_not_make_lists_alike():
    """One head found in each list, a different one; the order fills up with the same zeros."""
    a = detection([[[0, 0, 0, 0], [0, 0, 0, 1]]])
    b = detection([[[0, 0, 0, 0], [0, 0, 1, 0]]])
    found = compare_heads(a, b, k=4)
    assert found["overlap"] == 0.75 and (found["ties_a"], found["ties_b"]) == (7, 7)
    # all ways to draw three of the seven tied heads of each list
    draws = []
    for more_a in combinations(range(7), 3):
        for more_b in combinations([0, 1, 2, 3, 4, 5, 7], 3):
            draws.append(len({7, *more_a} & {6, *more_b}) / 4)
    assert found["overlap_expected"] == pytest.approx(sum(draws) / len(draws))


def test_a_tie_that_fits_is_no_tie():
    assert places([3, 2, 2, 1], 3) == ([1.0, 1.0, 1.0], 0)
    assert places([3, 2, 2, 1], 2) == ([1.0, 0.5, 0.5], 2)
    assert places([1, 1], 2) == ([1.0, 1.0], 0)
    assert places([1, 1, 1], 1) == ([1 / 3] * 3, 3)


def test_a_ranking_without_scores():
    listed = rl.HeadSet(["L0H2", "L0H0", "L1H3"])
    found = compare_heads(A, listed, k=3)
    assert found["overlap"] == 2 / 3 and found["overlap_expected"] == 2 / 3
    assert math.isnan(found["rank_correlation"])
    assert found["rank_correlation_note"] == "list b has no scores"
    assert compare_heads(listed, A, k=3)["rank_correlation_note"] == "list a has no scores"


def test_why_there_is_no_rank_correlation():
    few = rl.HeadSet(["L0H2", "L0H0"], scores=[1, 0.5])
    found = compare_heads(A, few, k=2)
    assert found["rank_correlation_note"] == "both lists score 2 heads, fewer than 3"
    assert found["n_ranked"] == 2 and math.isnan(found["rank_correlation"])
    flat = compare_heads(A, detection([[[1] * 4] * 2]), k=2)
    assert flat["rank_correlation_note"] == "all scores of a list are equal"
    assert math.isnan(flat["rank_correlation"])


def test_lists_without_a_model_have_no_chance_level():
    listed = rl.HeadSet(["L0H2", "L0H0", "L1H3"])
    found = compare_heads(listed, listed, k=2)
    assert found["n_heads"] is None and math.isnan(found["chance_overlap"])


def test_lists_for_different_numbers_of_heads_are_refused():
    wider = detection([[[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]])
    for a, b in ((A, wider), (A.frame(), wider.heads(3))):
        with pytest.raises(InputError, match=r"different numbers of heads: \(2, 4\) and \(2, 5\)"):
            compare_heads(a, b, k=2)
    with pytest.raises(InputError, match="L7H0 is out of range"):
        compare_heads(A, rl.HeadSet(["L0H0", "L7H0"]), k=1)
    static = rl.HeadSet(["L0H0"], provenance={"model": {"n_layers": 3, "n_heads": 4}})
    with pytest.raises(InputError, match="different numbers of heads"):
        compare_heads(A, static, k=1)


def test_k_is_within_both_lists():
    with pytest.raises(InputError, match=r"list b has 1 heads; take k <= 1, not 2"):
        compare_heads(A, rl.HeadSet(["L0H0"]), k=2)
    for k in (0, -1, 1.5, "3", True, None):
        with pytest.raises(InputError, match="k is a whole number from 1"):
            compare_heads(A, B, k=k)


# Heads 0..3 in one layer; examples 0 and 1 rank them alike, 2 and 3 the other way round.
UP, DOWN = [[4.0, 3.0, 2.0, 1.0]], [[1.0, 2.0, 3.0, 4.5]]


def test_split_half_of_two_examples():
    found = split_half(detection([UP, DOWN]), k=1)
    assert found["rank_correlation"] == pytest.approx(-1) and found["overlap"] == 0
    assert (found["n_used"], found["n_splits"], found["n_correlated"]) == (2, 100, 100)
    assert found["note"] is None
    same = split_half(detection([UP, UP]), k=2)
    assert same["rank_correlation"] == pytest.approx(1) and same["overlap"] == 1


def test_split_half_is_the_mean_over_all_halves():
    """Of the three ways to halve four examples one agrees with -1, and two with +1."""
    found = split_half(detection([UP, UP, DOWN, DOWN]), k=1, n_splits=4000, seed=1)
    # UP + UP against DOWN + DOWN; else both halves are (5, 5, 5, 5.5) / 2: one head above a tie
    assert found["rank_correlation"] == pytest.approx(1 / 3, abs=0.05)
    assert found["overlap"] == pytest.approx(2 / 3, abs=0.03)


def test_split_half_leaves_out_what_has_no_weight_and_is_seeded():
    weighted = detection([UP, UP, DOWN], weights=[1.0, 1.0, 0.0])
    assert split_half(weighted, k=1)["rank_correlation"] == pytest.approx(1)
    four = detection([UP, UP, DOWN, DOWN])
    once, again = (
        [split_half(four, k=1, n_splits=9, seed=seed)["overlap"] for seed in range(8)]
        for _ in range(2)
    )
    assert once == again and len(set(once)) > 1


def test_an_odd_example_is_left_out_by_lot():
    three = detection([UP, UP, DOWN])
    found = split_half(three, k=1, n_splits=3000)
    assert found["overlap"] == pytest.approx(1 / 3, abs=0.05)  # only UP against UP agrees


def test_halves_weigh_as_the_whole_does():
    """Totals over weights: an example with many steps weighs more, as in the score itself."""
    heavy = detection([[[0.0, 9.0]], [[1.0, 0.0]], [[0.0, 9.0]], [[1.0, 0.0]]], [9.0, 1, 9, 1])
    assert heavy.scores_of([0, 1]).tolist() == [[0.1, 0.9]]


def test_why_there_is_no_stability():
    one = split_half(detection([UP]), k=1)
    assert math.isnan(one["rank_correlation"]) and math.isnan(one["overlap"])
    assert one["note"] == "1 example counts; two halves need at least 2"
    flat = split_half(detection([[[1, 1, 1]], [[1, 1, 1]]]), k=1, n_splits=2)
    assert math.isnan(flat["rank_correlation"]) and flat["n_correlated"] == 0
    assert flat["note"] == "in every split all heads of a half score alike"
    assert flat["overlap"] == pytest.approx(1 / 3)  # a third each: three heads, all tied
    for wrong in ({"k": 0}, {"k": 5}, {"n_splits": 0}, {"n_splits": 1.5}):
        with pytest.raises(InputError):
            split_half(detection([UP, DOWN]), **{"k": 1, **wrong})


def test_layouts_of_one_question_are_never_on_both_sides(monkeypatch):
    """Six questions in four layouts: each half has three whole ones."""
    groups = tuple(f"q{i % 6}" for i in range(24))
    totals = np.random.default_rng(0).random((24, 1, 5)).tolist()
    found, halves = detection(totals, groups=groups), []
    scores_of = Detection.scores_of

    def noted(self, part):
        if len(part) < len(groups):
            assert len(part) == 12
            halves.append({groups[i] for i in part})
        return scores_of(self, part)

    monkeypatch.setattr(Detection, "scores_of", noted)
    split_half(found, k=2, n_splits=40)
    assert len(halves) == 80 and len({frozenset(half) for half in halves}) > 10
    for one, other in zip(halves[::2], halves[1::2], strict=True):
        assert not one & other and len(one) == len(other) == 3


def test_layouts_do_not_make_a_detection_stable():
    """Two questions that rank heads the other way round, in eight identical layouts."""
    two, layouts = [UP, DOWN], [UP, DOWN] * 8
    alone = split_half(detection(two), k=1)
    found = split_half(detection(layouts, groups=("q0", "q1") * 8), k=1)
    for name in ("rank_correlation", "overlap", "n_correlated"):
        assert found[name] == pytest.approx(alone[name])
    assert split_half(detection(layouts), k=1)["rank_correlation"] > alone["rank_correlation"] + 0.3
    one = split_half(detection([UP] * 3, groups=("q0",) * 3), k=1)
    assert one["note"] == "1 question counts; two halves need at least 2"


def test_a_split_without_questions_keeps_its_draws():
    """The numbers of a version that knew no questions."""
    five = detection([UP, UP, DOWN, DOWN, UP])
    found = split_half(five, k=1, n_splits=50, seed=2)
    assert found["overlap"] == 0.38
    assert found["rank_correlation"] == pytest.approx(-0.1543467343117637)
    alone = detection([UP, UP, DOWN, DOWN, UP], groups=tuple("abcde"))
    assert split_half(alone, k=1, n_splits=50, seed=2) == found


def test_questions_are_known_and_kept(tmp_path):
    asked = [
        replace(example(f"e{i}"), meta={} if question is None else {"question_id": question})
        for i, question in enumerate([7, None, 7])
    ]
    assert question_groups(asked) == ("question 7", "example e1", "question 7")
    assert question_groups(asked[1:2]) == ()
    traces = [trace(one, [1], [[[1, 2]]], "one") for one in asked]
    found = rl.detectors.ScoreMean(rl.CopyPaste()).from_traces(traces, asked)
    assert found.groups == question_groups(asked) and found.units == [[0, 2], [1]]
    assert Detection.load(found.save(tmp_path / "new.json")).groups == found.groups
    content = load_json(tmp_path / "new.json", "detection")
    del content["groups"]
    older = Detection.load(save_json(tmp_path / "old.json", "detection", content))
    assert older.groups == () and older.units == [[0], [1], [2]]
    with pytest.raises(InputError, match="2 groups for 3 examples"):
        replace(found, groups=("a", "b"))


def test_compare_heads_reports_the_stability_of_each_detection():
    found = compare_heads(detection([UP, UP]), detection([UP, DOWN]), k=1, n_splits=5, seed=3)
    assert found["split_half_a"] == split_half(detection([UP, UP]), 1, n_splits=5, seed=3)
    assert found["split_half_b"]["overlap"] == 0
