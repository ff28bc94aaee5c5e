"""Reports: equal to scikit-learn on the probe's own predictions, only on unseen examples."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

import retrieval_lens as rl
from retrieval_lens.analysis import probes
from retrieval_lens.analysis.drawing import resample_weights
from retrieval_lens.analysis.probes import evaluate_probe, train_probe
from retrieval_lens.errors import InputError
from tests.analysis.probes.synthetic import SMALL, corpus
from tests.tiny_models import tiny_bridge
from tests.tracing.test_families import example

OTHERS = corpus(8, seed=7, prefix="other")


@pytest.fixture(scope="module")
def probe():
    return train_probe(corpus(20), **SMALL)


@pytest.fixture(scope="module")
def report(probe):
    return evaluate_probe(probe, OTHERS, n_resamples=60)


def predicted(probe, found=OTHERS):
    scores = torch.cat([probe.predict(one.hidden) for one in found]).flatten(1).numpy()
    return scores, torch.cat([one.active for one in found]).flatten(1).numpy()


@pytest.mark.parametrize("steps", ["all", "non_empty"])
def test_the_metrics_are_scikit_learns_on_the_probes_predictions(probe, report, steps):
    scores, truth = predicted(probe)
    if steps == "non_empty":
        kept = truth.any(1)
        assert 0 < kept.sum() < len(kept) and report.n_non_empty == kept.sum()
        scores, truth = scores[kept], truth[kept]
    guess = scores >= probe.threshold
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, guess, average="micro")
    expected = {"precision": precision, "recall": recall, "f1": f1}
    expected["auprc"] = sk.average_precision_score(truth, scores, average="micro")
    for name, value in expected.items():
        assert report.value(name, steps=steps) == pytest.approx(value, rel=1e-6), name
    rate = np.broadcast_to(probe.baselines.rate.numpy(), truth.shape)
    area = sk.average_precision_score(truth, rate, average="micro")
    assert report.value("auprc", "base_rate", steps) == pytest.approx(area)
    assert report.value("auprc", "gain", steps) == pytest.approx(expected["auprc"] - area)
    static = rate >= probe.thresholds["base_rate"]
    assert report.value("f1", "base_rate", steps) == pytest.approx(
        sk.f1_score(truth, static, average="micro")
    )


def test_each_head_and_the_calibration(probe, report):
    scores, truth = predicted(probe)
    for i, row in report.per_head.iterrows():
        assert (row.layer, row["head"], row.n_positive) == (i // 3, i % 3, truth[:, i].sum())
        guess = scores[:, i] >= probe.threshold
        assert row.recall == pytest.approx(sk.recall_score(truth[:, i], guess))
        assert row.f1 == pytest.approx(sk.f1_score(truth[:, i], guess))
        area = sk.average_precision_score(truth[:, i], scores[:, i])
        assert row.auprc == pytest.approx(area)
    observed, mean = calibration_curve(truth.ravel(), scores.ravel(), n_bins=10)
    assert report.calibration.mean_predicted.to_numpy() == pytest.approx(mean, rel=1e-5)
    assert report.calibration.observed_share.to_numpy() == pytest.approx(observed)
    assert report.calibration.n.sum() == truth.size


def test_a_regressors_heads():
    others = corpus(6, seed=7, prefix="other", labels=False)
    probe = train_probe(corpus(20, labels=False), "regressor", **SMALL)
    report = evaluate_probe(probe, others, n_resamples=20)
    scores, _ = predicted(probe, others)
    truth = torch.cat([one.scores for one in others]).flatten(1).numpy()
    r2 = sk.r2_score(truth, scores, multioutput="raw_values")
    assert report.per_head.r2.to_numpy() == pytest.approx(r2, rel=1e-5)
    assert report.value("r2_mean_over_heads") == pytest.approx(r2.mean(), rel=1e-5)
    mse = sk.mean_squared_error(truth, scores, multioutput="raw_values")
    assert report.per_head.mse.to_numpy() == pytest.approx(mse, rel=1e-5)


def test_intervals_are_of_examples_drawn_within_haystacks_and_paired(probe, report):
    weights = resample_weights(8, [one.meta["haystack"] for one in OTHERS], 60, 0)
    static = probe.baselines.rate.flatten().numpy() >= probe.thresholds["base_rate"]
    draws = []
    for times in weights.astype(int):
        found = [one for one, n in zip(OTHERS, times, strict=True) for _ in range(n)]
        scores, truth = predicted(probe, found)
        own = sk.f1_score(truth, scores >= probe.threshold, average="micro")
        base = np.broadcast_to(static, truth.shape)
        draws.append(own - sk.f1_score(truth, base, average="micro"))
    frame = report.metrics
    row = frame[(frame.predictor == "gain") & (frame.metric == "f1") & (frame.steps == "all")]
    low, high = np.quantile(draws, [0.025, 0.975])
    assert row.low.iloc[0] == pytest.approx(low) and row.high.iloc[0] == pytest.approx(high)


def test_thresholds_are_of_the_validation_side_and_rates_of_the_training_side(probe):
    found = {one.example_id: one for one in corpus(20)}
    scores, truth = predicted(probe, [found[name] for name in probe.validation_ids])
    f1 = {one: sk.f1_score(truth, scores >= one, average="micro") for one in np.unique(scores)}
    assert probe.threshold == pytest.approx(max(f1, key=lambda one: f1[one]), rel=1e-6)
    fired = torch.cat([found[name].active for name in probe.train_ids]).float().mean(0)
    torch.testing.assert_close(probe.baselines.rate, fired.flatten())


def test_seen_examples_are_refused(probe):
    found = {one.example_id: one for one in corpus(20)}
    for ids in (probe.train_ids, probe.validation_ids):
        with pytest.raises(InputError, match="trained or validated on example .*allow_overlap"):
            evaluate_probe(probe, [*OTHERS, found[ids[0]]])
        evaluate_probe(probe, [found[ids[0]]], allow_overlap=True, n_resamples=2)
    again = evaluate_probe(probe, [found[name] for name in probe.test_ids])
    assert again.metrics.equals(probe.report.metrics)
    by_step = train_probe(corpus(20), **SMALL, split="step")
    with pytest.raises(InputError, match="20 in all"):
        evaluate_probe(by_step, corpus(20))


def test_one_example_has_no_interval(probe):
    frame = evaluate_probe(probe, OTHERS[:1], n_resamples=5).metrics
    assert frame[frame.steps == "all"].value.notna().all() and frame.low.isna().all()


def test_bad_arguments(probe, report):
    for wrong in ({"n_resamples": 0}, {"confidence": 1.0}, {"seed": -1}):
        with pytest.raises(InputError):
            evaluate_probe(probe, OTHERS, **wrong)
    with pytest.raises(InputError, match="no row 'probe', 'all', 'mse'"):
        report.value("mse")
    with pytest.raises(InputError, match="longest response"):
        evaluate_probe(train_probe(corpus(6), **SMALL, offset=11), corpus(3, 4, prefix="short"))


@pytest.fixture(scope="module")
def traces():
    tracer = rl.RetrievalTracer(tiny_bridge("llama-gqa"))
    return [tracer.trace(example(seed=seed), 6) for seed in range(5)]


def test_traces_of_a_model(traces):
    made = train_probe(traces[:4], "regressor", "reasoning", **SMALL)
    assert made.provenance["hidden_at"] == next(iter(traces[0].hiddens))
    report = evaluate_probe(made, traces[4:], n_resamples=5)
    expected = traces[4].scored("reasoning") - made.predict(traces[4].hidden)
    assert report.value("mse") == pytest.approx(expected.square().mean().item(), rel=1e-5)


def test_a_score_given_as_an_object_is_given_again(traces, tmp_path):
    score = rl.Reasoning(min_mass=0.5)
    made = train_probe(traces[:4], "regressor", score, **SMALL)
    loaded = probes.Probe.load(made.save(tmp_path / "probe"))
    assert evaluate_probe(loaded, traces[4:], score=score, n_resamples=5).n_pairs
    with pytest.raises(InputError, match="example 'tiny-4' has score"):
        evaluate_probe(loaded, traces[4:], n_resamples=5)


def test_public_names():
    assert set(probes.__all__) == {
        "Baselines", "Probe", "ProbeReport", "ProbeSettings",
        "asymmetric_loss", "evaluate_probe", "train_probe",
    }  # fmt: skip


def test_an_answer_of_the_training_is_refused_in_another_haystack():
    found = corpus(20)
    named = [
        replace(one, meta={"needle": "magic_word", "seed": i, "haystack": "coast"})
        for i, one in enumerate(found)
    ]
    probe = train_probe(named, widths=[4], epochs=1, progress=False)
    seen = next(one for one in named if one.example_id in probe.train_ids)
    other = replace(seen, example_id="elsewhere", meta=seen.meta | {"haystack": "essays"})
    with pytest.raises(InputError, match="or on one with the same answer"):
        evaluate_probe(probe, [other])
    assert evaluate_probe(probe, [other], allow_overlap=True).n_pairs > 0
    fresh = replace(other, meta=other.meta | {"seed": 999})
    assert evaluate_probe(probe, [fresh]).n_pairs > 0
