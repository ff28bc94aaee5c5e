"""Layouts of one question are drawn together: 6 questions in 8 layouts are 6, not 48."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from retrieval_lens.analysis import dynamism
from retrieval_lens.analysis.cca import runs
from retrieval_lens.analysis.cca.pairs import pairs_at, step_table
from retrieval_lens.analysis.cca.settings import CcaSettings
from retrieval_lens.analysis.drawing import resample_weights
from retrieval_lens.analysis.probes import evaluate_probe, train_probe
from retrieval_lens.analysis.trajectories import Trajectory
from retrieval_lens.errors import InputError
from tests.analysis.by_hand import bernoulli_sets, pick
from tests.analysis.probes.synthetic import SMALL, corpus

LAYOUTS = 8
DRAWS = {"n_resamples": 200, "seed": 3}


def asked(found, n_layouts=LAYOUTS, known=True):
    """The same responses as layouts of questions, a layout of all of them after the other."""
    return [
        replace(
            one,
            example_id=f"{one.example_id}@{layout}",
            meta={**one.meta, **({"question_id": f"q{i}"} if known else {})},
        )
        for layout in range(n_layouts)
        for i, one in enumerate(found)
    ]


def test_a_group_is_drawn_whole():
    groups = ["b", "a", "b", "c", "a", "b"]
    weights = resample_weights(6, None, 300, 4, groups)
    # b, a, c in order of appearance: three units, drawn as three examples are
    alone = resample_weights(3, None, 300, 4)
    np.testing.assert_array_equal(weights, alone[:, [0, 1, 0, 2, 1, 0]])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all() and weights[:, 0].std() > 0


def test_groups_are_drawn_within_strata():
    weights = resample_weights(8, "xxxxyyyy", 200, 0, "aabbccdd")
    assert (weights[:, [0, 2]].sum(1) == 2).all() and (weights[:, [4, 6]].sum(1) == 2).all()


@pytest.mark.parametrize(("strata", "groups"), [("xyxy", "aabb"), ("xxyy", "aabb")])
def test_units_that_strata_cannot_hold_are_drawn_together(strata, groups):
    """A unit in two strata, and a stratum of a single unit."""
    weights = resample_weights(4, strata, 200, 0, groups)
    assert (weights[:, [0, 2]].sum(1) == 2).all() and weights[:, 0].std() > 0
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])


def test_no_strata_are_kept_where_a_unit_lies_in_two():
    weights = resample_weights(8, "yxxxyyyy", 200, 0, "aabbccdd")
    assert (weights[:, ::2].sum(1) == 4).all() and weights[:, [0, 2]].sum(1).std() > 0


def test_groups_and_strata_are_one_an_example():
    with pytest.raises(InputError, match="2 groups for 3 examples"):
        resample_weights(3, None, 5, 0, "ab")
    with pytest.raises(InputError, match="2 strata for 3 examples"):
        resample_weights(3, "xy", 5, 0, "abc")


def test_groups_of_one_change_no_draw():
    """The numbers of a version that knew no groups."""
    expected = [[2, 0, 0, 1, 1, 2], [2, 0, 0, 0, 4, 0], [1, 1, 1, 0, 1, 2], [1, 1, 3, 1, 0, 0]]
    for groups in (None, range(6), "fedcba"):
        weights = resample_weights(6, "aabbbb", 4, 5, groups)
        assert weights.tolist() == expected and weights.flags.c_contiguous
    row = pick(dynamism(bernoulli_sets(8, 10), **DRAWS), "mean_active", empty="count")
    assert (row.low, row.high) == (7.4243749999999995, 7.8878125)


def test_dynamism_has_the_interval_of_the_questions():
    six = bernoulli_sets(6, 12)
    alone, layouts = dynamism(six, **DRAWS), dynamism(asked(six), **DRAWS)
    for end in ("low", "high"):
        np.testing.assert_allclose(layouts[end], alone[end], atol=1e-9)
    assert alone.low.notna().any() and (layouts.n_examples == 8 * alone.n_examples).all()
    width = [
        row.high - row.low
        for frame in (layouts, dynamism(asked(six, known=False), **DRAWS))
        for row in [pick(frame, "mean_active", empty="count")]
    ]
    assert width[1] < 0.6 * width[0], "48 examples of their own have a narrower interval"


def test_one_question_has_no_interval():
    frame = dynamism(asked(bernoulli_sets(1, 12)), **DRAWS)
    assert frame.low.isna().all() and frame.high.isna().all() and frame.value.notna().any()


def test_cca_draws_questions_and_needles_alone():
    def table(**meta):
        made = [
            Trajectory(
                hidden=torch.randn(3, 2),
                scores=torch.rand(3, 1, 2),
                active=torch.ones(3, 1, 2, dtype=torch.bool),
                inputs=torch.arange(3),
                tokens=torch.arange(3),
                example_id=f"e{i:02}",
                meta={"haystack": "coast", **{name: of(i) for name, of in meta.items()}},
            )
            for i in range(48)
        ]
        return step_table(made)

    settings = CcaSettings(
        offsets=(0,),
        hidden_variance=0.9,
        score_variance=0.9,
        n_components=1,
        test_share=0.2,
        min_count=1,
        n_nulls=0,
        n_resamples=100,
        confidence=0.95,
        seed=3,
    )
    test = np.arange(8, 40)
    questions = runs._weights(table(question_id=lambda i: i // 8), test, settings)
    np.testing.assert_array_equal(
        questions[:, test], np.repeat(resample_weights(4, None, 100, 3), 8, axis=1)
    )
    assert not questions[:, :8].any() and not questions[:, 40:].any()
    needles = table(needle=lambda i: "magic_word", answer=lambda i: i // 8)
    assert len(set(needles.groups)) == 6, "needles with one answer share a side"
    np.testing.assert_array_equal(
        runs._weights(needles, test, settings)[:, test], resample_weights(32, None, 100, 3)
    )
    assert len(pairs_at(needles, test, 0, 0)) == 96


def test_a_probe_report_has_the_interval_of_the_questions():
    probe = train_probe(corpus(20), **SMALL)
    six = corpus(6, seed=7, prefix="other")
    alone, layouts, counted = (
        evaluate_probe(probe, found, n_resamples=60).metrics
        for found in (six, asked(six, 4), asked(six, 4, known=False))
    )
    for end in ("low", "high"):
        np.testing.assert_allclose(layouts[end], alone[end], atol=1e-6)
    width = [(frame.high - frame.low).mean() for frame in (layouts, counted)]
    assert width[1] < 0.8 * width[0]
    one = evaluate_probe(probe, asked(six[:1], 4), n_resamples=10).metrics
    assert one.low.isna().all() and one.value.notna().any()
