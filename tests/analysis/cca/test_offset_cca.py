"""The curve over offsets: known correlations, an independent script, nulls, baselines, refusals."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.decomposition import PCA
from sklearn.preprocessing import MinMaxScaler
from statsmodels.multivariate.cancorr import CanCorr

from retrieval_lens.analysis.cca import runs
from retrieval_lens.analysis.cca.canonical import CanonicalCorrelation
from retrieval_lens.analysis.cca.offsets import SETTINGS, offset_cca
from retrieval_lens.errors import InputError
from tests.analysis.cca.data import latent_responses, pick, response

QUICK = {"min_count": 1, "n_nulls": 3, "n_resamples": 50}
ALL = {"hidden_variance": 1.0, "score_variance": 1.0}  # no direction is lost to the reduction


@pytest.fixture(scope="module")
def responses():
    return latent_responses(30, 15, [0.9, 0.5], n_noise=4, spread=3)


@pytest.fixture(scope="module")
def frame(responses):
    return offset_cca(responses, offsets=[0, 1, 3], **QUICK)


# an independent computation


def plain_pcs(values, fit, variance, scaled=False):
    if scaled:
        scaler = MinMaxScaler().fit(values[fit])
        values = scaler.transform(values)
    return PCA(variance, svd_solver="full").fit(values[fit]).transform(values)


def plain_pairs(responses, offset, reach, names=None):
    """Hidden states, scores, earlier scores and the rest of step n, one row a pair."""
    parts = {"h": [], "s": [], "known": [], "x": [], "y": [], "n": [], "test": []}
    for one in sorted(responses, key=lambda one: one.example_id):
        hidden, scores = one.hidden.double().numpy(), one.scores.flatten(1).double().numpy()
        for n in range(one.n_steps - reach):
            parts["h"].append(hidden[n])
            parts["s"].append(scores[n + offset])
            before = scores[n - 1] if n else np.zeros_like(scores[0])
            parts["known"].append(scores[n] if offset else before)
            parts["x"].append(int(one.inputs[n]))
            parts["y"].append(int(one.tokens[n]))
            parts["n"].append(n)
            parts["test"].append(one.example_id in (names or ()))
    return {name: np.array(part) for name, part in parts.items()}


def statistics(correlations):
    return {name: np.mean(correlations[:n]) for name, n in STATISTICS}


STATISTICS = (("top1", 1), ("mean10", 10), ("mean50", 50))


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_in_sample_equals_a_plain_script(responses, frame, offset):
    for setting, reach in (("in_sample", offset), ("in_sample_same_support", 3)):
        pairs = plain_pairs(responses, offset, reach)
        every = np.ones(len(pairs["h"]), bool)
        x = plain_pcs(pairs["h"], every, 0.95)
        y = plain_pcs(pairs["s"], every, 0.99, scaled=True)
        for name, wanted in statistics(CanCorr(y, x).cancorr).items():
            row = pick(frame, setting, name, offset)
            assert row.value == pytest.approx(wanted, abs=1e-6)
            assert (row.n_train, row.n_test) == (len(x), len(x))
            assert (row.n_hidden_pcs, row.n_score_pcs) == (x.shape[1], y.shape[1])
            assert np.isnan(row.low) and np.isnan(row.high)


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_held_out_rows_equal_a_plain_script(responses, frame, offset):
    pairs = plain_pairs(responses, offset, 3, frame.attrs["test_examples"])
    test, fit = pairs["test"], ~pairs["test"]
    y = plain_pcs(pairs["s"], fit, 0.99, scaled=True)
    hidden = plain_pcs(pairs["h"], fit, 0.95)
    known = np.hstack(
        [
            plain_pcs(pairs["known"], fit, 0.99, scaled=True),
            # every token and every step is frequent here
            *(plain_pcs(pd.get_dummies(pairs[i]).to_numpy(float), fit, 0.95) for i in "xyn"),
            pairs["n"][:, None],
        ]
    )
    filled = (pairs["s"] > 0.5).any(1)
    sides = {"held_out": hidden, "baselines": known}
    sides["hidden_and_baselines"] = np.hstack([hidden, known])
    for steps, kept in (("all", test), ("non_empty", test & filled)):
        found = {}
        for setting, x in sides.items():
            found[setting] = signed(x, y, fit, kept)
            for name, wanted in statistics(found[setting]).items():
                row = pick(frame, setting, name, offset, steps)
                assert row.value == pytest.approx(wanted, abs=1e-6)
                assert (row.n_train, row.n_test) == (fit.sum(), kept.sum())
                assert row.low <= row.value <= row.high
        for name, wanted in statistics(found["hidden_and_baselines"]).items():
            gain = wanted - statistics(found["baselines"])[name]
            assert pick(frame, "gain", name, offset, steps).value == pytest.approx(gain, abs=1e-6)


def signed(x, y, fit, kept):
    """Correlations of statsmodels' variates, in training order and with training's sign."""
    # the step as a number and as a category are collinear, which statsmodels refuses
    left, size, _ = np.linalg.svd(x - x[fit].mean(0), full_matrices=False)
    white = PCA(whiten=True).fit(x[fit] / x[fit].std(0))
    rank = int((white.explained_variance_ > 1e-9).sum())
    x = white.transform(x / x[fit].std(0))[:, :rank]
    plain = CanCorr(y[fit], x[fit])
    a, b = (x - x[fit].mean(0)) @ plain.x_cancoef, (y - y[fit].mean(0)) @ plain.y_cancoef
    n = min(a.shape[1], b.shape[1])
    return np.array(
        [
            np.corrcoef(a[kept, i], b[kept, i])[0, 1]
            * np.sign(np.corrcoef(a[fit, i], b[fit, i])[0, 1])
            for i in range(n)
        ]
    )


# what the numbers mean


def test_known_correlations_are_recovered_at_their_offset():
    found = offset_cca(
        latent_responses(150, 40, [0.8, 0.5], n_noise=2, offset=2), offsets=[0, 2], **QUICK, **ALL
    )
    for setting in ("in_sample", "in_sample_same_support", "held_out"):
        first, both = (pick(found, setting, name, 2).value for name in ("top1", "mean10"))
        assert first == pytest.approx(0.8, abs=0.03)
        assert both == pytest.approx((0.8 + 0.5) / 4, abs=0.03)
    row = pick(found, "held_out", "top1", 2)
    assert row.low < 0.8 < row.high
    assert row.high - row.low < 0.06
    assert abs(pick(found, "held_out", "top1", 0).value) < 0.1


def test_in_sample_is_biased_upward_and_held_out_is_not():
    kept = {"in_sample_same_support": [], "held_out": [], "null_in_sample": []}
    for seed in range(8):
        small = latent_responses(20, 8, [0.5], n_noise=9, seed=seed)
        found = offset_cca(small, offsets=[0], seed=seed, **QUICK, **ALL)
        for setting, values in kept.items():
            values.append(pick(found, setting).value)
    bias = {setting: np.mean(values) for setting, values in kept.items()}
    assert bias["in_sample_same_support"] > 0.5 + 0.05
    assert bias["held_out"] < 0.5 + 0.02
    assert bias["null_in_sample"] > 0.3


def test_nulls_are_where_independent_data_are():
    independent = offset_cca(
        latent_responses(40, 10, [0.0] * 6), offsets=[0], n_nulls=60, n_resamples=20, **ALL
    )
    related = offset_cca(
        latent_responses(40, 10, [0.9] * 6), offsets=[0], n_nulls=60, n_resamples=20, **ALL
    )
    fresh = []
    rng = np.random.default_rng(1)
    for _ in range(60):
        x, y = rng.normal(size=(2, 400, 6))
        fresh.append(statistics(CanCorr(y, x).cancorr))
    for name in ("top1", "mean10"):
        wanted = np.mean([one[name] for one in fresh])
        spread = np.std([one[name] for one in fresh])
        for found in (independent, related):
            null = pick(found, "null_in_sample", name)
            # means of 60 draws each
            assert null.value == pytest.approx(wanted, abs=4 * spread * np.sqrt(2 / 60))
            assert null.high - null.low == pytest.approx(4 * spread, rel=0.5)
            held = pick(found, "null_held_out", name)
            assert abs(held.value) < 0.05
            assert held.low < 0 < held.high
        own = pick(independent, "in_sample", name).value
        assert abs(own - wanted) < 4 * spread
        assert pick(related, "in_sample", name).value > 0.85


def drifting(seed=0, n_examples=40, n_steps=20):
    """One slow curve that all examples share, and noise of their own."""
    rng = np.random.default_rng(seed)
    drift = np.zeros((n_steps, 2))
    for n in range(1, n_steps):
        drift[n] = 0.9 * drift[n - 1] + rng.normal(size=2)
    to_hidden, to_scores = rng.normal(size=(2, 2, 6))
    found = []
    for i in range(n_examples):
        hidden, scores = rng.normal(size=(2, n_steps, 6)) * 0.3
        hidden, scores = hidden + drift @ to_hidden, scores + drift @ to_scores
        found.append(response(hidden, scores, f"e{i:02}", *rng.integers(0, 3, (2, n_steps))))
    return found


def test_a_shared_course_over_steps_is_no_prediction():
    found = offset_cca(drifting(), offsets=[0, 1, 4], **QUICK)
    for offset in (0, 1, 4):
        real, null, held, held_null = (
            pick(found, setting, offset=offset).value
            for setting in ("in_sample", "null_in_sample", "held_out", "null_held_out")
        )
        assert min(real, held) > 0.8
        assert null == pytest.approx(real, abs=0.03)
        assert held_null == pytest.approx(held, abs=0.03)
        assert abs(pick(found, "gain", offset=offset).value) < 0.02


def test_gain_is_what_the_baselines_lack():
    known = latent_responses(40, 12, [0.9, 0.7], n_noise=2, offset=1)
    found = offset_cca(known, offsets=[1], **QUICK, **ALL)
    gain = pick(found, "gain", offset=1)
    assert gain.low > 0.5
    # a hidden state that is the scores of its step adds nothing, in any resample
    copies = [
        response(one.scores.flatten(1), one.scores.flatten(1), one.example_id, one.inputs.numpy())
        for one in known
    ]
    row = pick(offset_cca(copies, offsets=[1], **QUICK, **ALL), "gain", offset=1)
    assert [row.value, row.low, row.high] == pytest.approx([0, 0, 0], abs=1e-8)


def test_held_out_examples_change_no_weights(responses, frame, monkeypatch):
    def fits(given):
        kept = []
        fit = CanonicalCorrelation.fit

        def noted(*arguments):
            assert arguments[3] == frame.attrs["least_variance"] == 1e-4
            kept.append(fit(*arguments))
            return kept[-1]

        with monkeypatch.context() as patch:
            patch.setattr(CanonicalCorrelation, "fit", noted)
            patch.setattr(runs, "in_sample_rows", None)
            table = cca_tables(given)
            list(runs.held_out_rows(*table, lambda n=1: None))
        return kept

    held = set(frame.attrs["test_examples"])
    changed = [
        response(
            7 * one.hidden.flip(0) + 3,
            5 * one.scores.flatten(1) - 2,
            one.example_id,
            *((one.tokens + 50).numpy(), (one.inputs + 50).numpy()),
        )
        if one.example_id in held
        else one
        for one in responses
    ]
    before, after = fits(responses), fits(changed)
    assert len(before) == 2 * (3 + 3)
    for one, other in zip(before, after, strict=True):
        assert (one.x_weights == other.x_weights).all()
        assert (one.y_weights == other.y_weights).all()


def cca_tables(given):
    from retrieval_lens.analysis.cca.pairs import split_examples, step_table
    from tests.analysis.cca.test_pairs import settings

    chosen = settings(offsets=(1, 3), n_nulls=3, test_share=0.3)
    table = step_table(given)
    return table, split_examples(table, chosen), chosen


# the frame


def test_every_row_is_there_once(frame):
    keys = ["offset", "setting", "steps", "statistic"]
    assert not frame.duplicated(keys).any()
    counts = frame[frame.steps == "all"].groupby("setting").size()
    assert counts.to_dict() == dict.fromkeys(SETTINGS, 9)
    in_sample = ["in_sample", "in_sample_same_support", "null_in_sample"]
    held = frame[~frame.setting.isin(in_sample)]
    assert set(frame[frame.steps == "non_empty"].setting) == set(held.setting)
    # held-out rows stand on the same steps at every offset
    same = held[(held.setting != "null_held_out") & (held.steps == "all")]
    assert same[["n_train", "n_test"]].drop_duplicates().shape[0] == 1
    assert (same.n_train_examples.iloc[0], same.n_test_examples.iloc[0]) == (21, 9)


def test_parameters_are_kept(responses):
    found = offset_cca(responses, offsets=[2, 0], n_components=4, seed=3, **QUICK)
    kept = json.loads(json.dumps(found.attrs))
    assert kept["offsets"] == [0, 2]
    assert (kept["n_components"], kept["seed"], kept["n_nulls"]) == (4, 3, 3)
    assert (kept["score"], kept["hidden_variance"]) == ("copy_paste", 0.95)
    assert sorted([*kept["train_examples"], *kept["test_examples"]]) == [
        f"e{i:03}" for i in range(30)
    ]
    assert "y_n" in kept["notes"][0]
    assert found.n_components.max() == 4
    assert found[found.statistic == "mean50"].n_averaged.eq(4).all()


def test_same_seed_same_frame_in_any_order(responses, frame):
    again = offset_cca(responses[::-1], offsets=[3, 1, 0], **QUICK)
    assert_frame_equal(again, frame, check_exact=True)
    other = offset_cca(responses, offsets=[0, 1, 3], seed=1, **QUICK)
    assert pick(other, "in_sample").value == pick(frame, "in_sample").value
    assert pick(other, "held_out").value != pick(frame, "held_out").value
    assert pick(other, "null_in_sample").value != pick(frame, "null_in_sample").value


def test_without_nulls(responses):
    found = offset_cca(responses, offsets=[0], n_nulls=0, n_resamples=10)
    assert not found.setting.str.startswith("null").any()


def test_components_are_clamped_and_constant_heads_counted():
    rng = np.random.default_rng(0)
    few = []
    for i in range(6):
        hidden, scores = rng.normal(size=(2, 8, 6))
        scores[:, 4] = 0.25
        few.append(response(hidden, scores, f"e{i}", heads=3))
    found = offset_cca(few, offsets=[0], **QUICK, **ALL)
    row = pick(found, "in_sample", "mean50")
    assert (row.n_constant_heads, row.n_score_pcs, row.n_hidden_pcs) == (1, 5, 6)
    assert (row.n_components, row.n_averaged) == (5, 5)
    assert pick(found, "baselines").n_hidden_pcs == 0 < pick(found, "baselines").n_baseline_pcs


def test_fewer_steps_than_components_is_said():
    rng = np.random.default_rng(0)
    tiny = [response(*rng.normal(size=(2, 2, 30)), f"e{i}") for i in range(5)]
    found = offset_cca(tiny, offsets=[0], **QUICK, test_share=0.4, **ALL)
    row = pick(found, "in_sample", "mean50")
    assert (row.n_train, row.n_components) == (10, 9)
    assert row.value == pytest.approx(1)  # as many directions as steps fit anything
    assert any("near 1 whatever the data" in note for note in found.attrs["notes"])


def test_no_active_head_leaves_non_empty_steps_undefined():
    rng = np.random.default_rng(0)
    quiet = [response(rng.normal(size=(8, 4)), rng.random((8, 4)) / 3, f"e{i}") for i in range(8)]
    found = offset_cca(quiet, offsets=[0], **QUICK)
    row = pick(found, "held_out", steps="non_empty")
    assert row.n_test == row.n_test_examples == 0
    assert np.isnan([row.value, row.low, row.high]).all()
    assert np.isfinite(pick(found, "held_out").value)


def varied(n, **changed):
    rng = np.random.default_rng(0)
    return [response(*rng.normal(size=(2, n, 4)), f"e{i}", **changed) for i in range(6)]


@pytest.mark.parametrize(
    ("given", "changed", "words"),
    [
        (lambda: [], {}, "no trace"),
        (lambda: varied(6)[:1], {}, "received 1 examples; wanted at least 4"),
        (lambda: varied(6), {"test_share": 0.1}, "1 to test on"),
        (lambda: varied(6), {"offsets": range(0, 11)}, "offset 10: 0 of 6 examples .* has 6"),
        (lambda: varied(6), {"offsets": [0, 0]}, "each of them once"),
        (lambda: varied(6), {"n_components": 0}, "n_components"),
        (
            lambda: [response(np.eye(4), np.zeros((4, 4)), f"e{i}") for i in range(6)],
            {},
            "offset 0: no head's score varies over 24 steps",
        ),
        (
            lambda: [response(np.ones((4, 4)), np.eye(4), f"e{i}") for i in range(6)],
            {},
            "hidden states do not vary over the 24 steps",
        ),
        (lambda: [*varied(4, model="a")[:3], *varied(4, model="b")[3:]], {}, "different model"),
    ],
)
def test_refuses(given, changed, words):
    with pytest.raises(InputError, match=words):
        offset_cca(given(), **{"offsets": [0]} | QUICK | changed)


@pytest.mark.parametrize("test_share", [0.35, 0.65])
def test_refuses_two_pairs_on_a_side(test_share):
    with pytest.raises(InputError, match="offset 0: only 2 steps of 2 examples"):
        offset_cca(varied(1), offsets=[0], test_share=test_share, **QUICK)


def test_refuses_baselines_that_do_not_vary():
    rng = np.random.default_rng(0)
    single = [
        response(rng.normal(size=(2, 4)), [[0, 0], rng.normal(size=2)], f"e{i}") for i in range(12)
    ]
    with pytest.raises(InputError, match="offset 1, baselines and scores: the first side does not"):
        offset_cca(single, offsets=[1], **QUICK)


def needles(n_answers, **options):
    """Four examples an answer; states that depend on the answer alone."""
    draw = np.random.default_rng(5)
    answers = draw.normal(size=(n_answers, 12, 3))
    found = []
    for i in range(4 * n_answers):
        states = answers[i % n_answers]
        ids = draw.integers(20, size=12)
        one = response(states + 0.01 * draw.normal(size=states.shape), states, f"e{i}", ids, ids)
        meta = {"needle": "magic_word", "seed": i % n_answers, "haystack": f"h{i // n_answers}"}
        found.append(replace(one, meta=meta))
    return found


def test_examples_with_the_same_answer_are_on_one_side():
    found = needles(6)
    frame = offset_cca(found, offsets=[0], n_nulls=0, n_resamples=10)
    seeds = {one.example_id: one.meta["seed"] for one in found}
    sides = [{seeds[i] for i in frame.attrs[f"{side}_examples"]} for side in ("train", "test")]
    assert sides[0] | sides[1] == set(range(6)) and not sides[0] & sides[1]
    assert len(frame.attrs["test_examples"]) == 4 * len(sides[1])
    with pytest.raises(InputError, match="with 3 answers of their own"):
        offset_cca(needles(3), offsets=[0], n_nulls=0, n_resamples=10)


def test_intervals_keep_to_the_haystacks():
    """Half of the held-out examples correlate fully, half not at all: strata fix their shares."""
    draw = np.random.default_rng(1)
    found = []
    for i in range(80):
        states = draw.normal(size=(15, 2))
        noise = draw.normal(size=(15, 2))
        scores = states if i % 2 else noise
        ids = draw.integers(30, size=15)
        one = response(states, scores, f"e{i:02}", ids, ids)
        found.append(one)
    options = {"offsets": [0], "n_nulls": 0, "n_resamples": 400, "min_count": 1}
    rows = []
    for strata in (True, False):
        named = [
            replace(one, meta={"haystack": "ab"[i % 2] if strata else "a"})
            for i, one in enumerate(found)
        ]
        rows.append(pick(offset_cca(named, **options), "held_out", "top1", 0))
    assert rows[0].value == rows[1].value
    assert rows[0].high - rows[0].low < 0.9 * (rows[1].high - rows[1].low)
