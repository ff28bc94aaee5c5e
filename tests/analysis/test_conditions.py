"""Conditions against a baseline, paired by example."""

from math import nan

import numpy as np
import pandas as pd
import pytest

from retrieval_lens.analysis import compare_conditions, holm, mcnemar, paired_bootstrap
from retrieval_lens.errors import InputError, NumericalError, UnknownNameError

N = 24
IDS = [f"e{i:02}" for i in range(N)]
RNG = np.random.default_rng(0)
BASE = RNG.normal(size=N)
VALUES = {"none": BASE, "dynamic": BASE - 2 + 0.1 * RNG.normal(size=N), "random": BASE.copy()}


@pytest.fixture
def frame():
    rows = [
        {
            "example_id": name,
            "condition": condition,
            "haystack": "ab"[i % 2],
            "effect": values[i],
            "exact": bool(values[i] > 0),
        }
        for condition, values in VALUES.items()
        for i, name in enumerate(IDS)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=1)


def row(found, condition):
    return found[found.condition == condition].iloc[0]


def test_numbers_are_compared_by_the_paired_bootstrap(frame):
    found = compare_conditions(frame, "effect", baseline="none")
    assert set(found.condition) == {"dynamic", "random"}
    assert set(found.test) == {"bootstrap"} and set(found.n_pairs) == {N}
    dynamic = row(found, "dynamic")
    alone = paired_bootstrap(VALUES["dynamic"], BASE)
    assert dynamic.difference == pytest.approx(alone.value) and dynamic.p == alone.p
    assert dynamic.value - dynamic.baseline_value == pytest.approx(dynamic.difference)
    assert row(found, "random").difference == 0 and row(found, "random").p == 1
    assert found.p_holm.tolist() == holm(found.p).tolist()
    assert dynamic.p_holm == 2 * dynamic.p


def test_outcomes_are_compared_by_mcnemar(frame):
    found = row(compare_conditions(frame, "exact", baseline="none"), "dynamic")
    exact = mcnemar(VALUES["dynamic"] > 0, BASE > 0)
    assert found.test == "mcnemar" and found.p == exact.p < 0.01
    assert found.difference == pytest.approx((exact.only_a - exact.only_b) / N)
    assert found.low <= found.difference <= found.high


def test_missing_pairs_are_said(frame):
    gone = (frame.condition == "dynamic") & frame.example_id.isin(["e03", "e07"])
    gone |= (frame.condition == "none") & (frame.example_id == "e05")
    found = compare_conditions(frame[~gone], "effect", baseline="none")
    dynamic = row(found, "dynamic")
    assert (dynamic.n_pairs, dynamic.n_unpaired, dynamic.unpaired) == (N - 3, 3, "e03, e05, e07")
    assert row(found, "random").unpaired == "e05"
    kept = [i for i in range(N) if i not in (3, 5, 7)]
    assert dynamic.difference == pytest.approx((VALUES["dynamic"] - BASE)[kept].mean())


def test_no_common_example_is_said_and_not_corrected_for(frame):
    alone = (frame.condition == "dynamic") & (frame.example_id != "e00")
    other = (frame.condition == "none") & (frame.example_id == "e00")
    found = compare_conditions(frame[~alone & ~other], "effect", baseline="none")
    dynamic = row(found, "dynamic")
    assert dynamic.n_pairs == 0 and np.isnan(dynamic[["value", "p", "p_holm"]].astype(float)).all()
    assert row(found, "random").p_holm == row(found, "random").p


def test_other_columns_may_be_named(frame):
    renamed = frame.rename(columns={"condition": "arm", "example_id": "who", "haystack": "where"})
    found = compare_conditions(
        renamed, "effect", baseline="none", condition="arm", unit="who", strata="where"
    )
    assert found.equals(compare_conditions(frame, "effect", baseline="none"))


def test_questions_are_the_unit_where_there_are_any(frame):
    asked = frame.assign(question_id=frame.example_id.str.replace("e", "q"))
    plain = compare_conditions(frame, "effect", baseline="none")
    assert compare_conditions(asked, "effect", baseline="none").equals(plain)
    layouts = pd.concat([asked.assign(example_id=asked.example_id + f"@{i}") for i in range(8)])
    with pytest.raises(InputError, match=r"question_id 'q\d\d' has several rows .* average over"):
        compare_conditions(layouts, "effect", baseline="none")
    keys = ["condition", "question_id", "haystack"]
    means = layouts.groupby(keys, as_index=False, sort=False)["effect"].mean()
    found = compare_conditions(means, "effect", baseline="none")
    assert set(found.n_pairs) == {N}
    assert row(found, "dynamic").low == pytest.approx(row(plain, "dynamic").low)
    # a unit that is named is taken, whatever questions there are
    named = compare_conditions(layouts, "effect", baseline="none", unit="example_id")
    assert set(named.n_pairs) == {8 * N}


def test_rows_without_a_question_are_examples(frame):
    plain = compare_conditions(frame, "effect", baseline="none")
    assert compare_conditions(frame.assign(question_id=None), "effect", baseline="none").equals(
        plain
    )
    some = frame.assign(question_id=frame.example_id.where(frame.example_id > "e05"))
    assert set(compare_conditions(some, "effect", baseline="none").n_pairs) == {N}
    with pytest.raises(UnknownNameError, match="no column 'example_id'"):
        compare_conditions(some.drop(columns="example_id"), "effect", baseline="none")


def test_strata_are_haystacks_where_there_are_any(frame):
    # within each haystack the difference is the same for all, so nothing varies
    constant = frame.assign(
        effect=[
            {"none": 0.0, "dynamic": 1.0 + (place == "b"), "random": 0.5}[condition]
            for condition, place in zip(frame.condition, frame.haystack, strict=True)
        ]
    )
    found = row(compare_conditions(constant, "effect", baseline="none"), "dynamic")
    assert found.low == found.high == 1.5
    for changed, strata in ((constant.drop(columns="haystack"), "auto"), (constant, None)):
        found = row(
            compare_conditions(changed, "effect", baseline="none", strata=strata), "dynamic"
        )
        assert found.low < 1.5 < found.high


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (lambda f: f, {"measure": "kl"}, UnknownNameError, "no column 'kl'"),
        (
            lambda f: f.drop(columns="haystack"),
            {"strata": "haystack"},
            UnknownNameError,
            "no column 'haystack'",
        ),
        (lambda f: f.drop(columns="example_id"), {}, UnknownNameError, "no column 'example_id'"),
        (lambda f: f, {"baseline": "static"}, UnknownNameError, "no condition 'static'"),
        (lambda f: f[f.condition == "none"], {}, InputError, "the only condition"),
        (lambda f: pd.concat([f, f.head(1)]), {}, InputError, "several rows of condition"),
        (lambda f: f.assign(effect="x"), {}, InputError, "is no number"),
        (lambda f: f.assign(effect=nan), {}, NumericalError, "is nan"),
        (lambda f: f.assign(haystack=range(len(f))), {}, InputError, "two strata"),
        (lambda f: f, {"n_resamples": 0}, InputError, "n_resamples"),
    ],
)
def test_frames_that_cannot_be_compared(frame, change, arguments, error, message):
    settings = {"measure": "effect", "baseline": "none", **arguments}
    with pytest.raises(error, match=message):
        compare_conditions(change(frame), settings.pop("measure"), **settings)
