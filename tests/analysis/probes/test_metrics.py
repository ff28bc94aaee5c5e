"""Metrics against scikit-learn, brute force and numbers worked on paper."""

import numpy as np
import pytest
from sklearn import metrics as sk

from retrieval_lens.analysis.probes import metrics
from retrieval_lens.analysis.probes.metrics import ErrorSums, LabelSums, best_threshold

N, H, E = 40, 5, 4
RNG = np.random.default_rng(0)
TRUTH = RNG.random((N, H)) < [0.6, 0.3, 0.2, 0.1, 0.0]
SCORES = np.clip(TRUTH * 0.3 + RNG.random((N, H)) * 0.7, 0, 1).astype(np.float32)
OWNER = RNG.integers(0, E, N)


def drawn(times):
    """Rows of a resample, every example as often as it says."""
    return np.repeat(np.arange(N), np.asarray(times)[OWNER])


@pytest.mark.parametrize("digits", [1, 2, 7])
def test_the_threshold_equals_brute_force(digits):
    scores = SCORES.round(digits)
    best = best_threshold(scores, TRUTH)
    candidates = np.unique(scores)
    f1 = [sk.f1_score(TRUTH.ravel(), (scores >= one).ravel()) for one in candidates]
    assert best == candidates[np.argmax(f1)]


@pytest.mark.parametrize("times", [[1, 1, 1, 1], [2, 0, 1, 1], [0, 0, 3, 1]])
def test_a_classifiers_metrics_equal_scikit_learns_on_every_resample(times):
    sums = LabelSums.of(SCORES, TRUTH, OWNER, E, 0.5, probabilities=True)
    found = {name: value[0] for name, value in sums.values(np.array([times], float)).items()}
    rows = drawn(times)
    truth, scores = TRUTH[rows].ravel(), SCORES[rows].ravel()
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        TRUTH[rows], SCORES[rows] >= 0.5, average="micro"
    )
    assert found["precision"] == pytest.approx(precision)
    assert found["recall"] == pytest.approx(recall)
    assert found["f1"] == pytest.approx(f1)
    area = sk.average_precision_score(TRUTH[rows], SCORES[rows], average="micro")
    assert found["auprc"] == pytest.approx(area)
    tenth = np.minimum((scores * 10).astype(int), 9)
    parts = [(tenth == i) for i in range(10) if (tenth == i).any()]
    error = sum(abs(scores[i].mean() - truth[i].mean()) * i.mean() for i in parts)
    assert found["expected_calibration_error"] == pytest.approx(error, rel=1e-5)


def test_many_different_scores_keep_the_value_and_nearly_the_resamples(monkeypatch):
    exact = LabelSums.of(SCORES, TRUTH, OWNER, E, 0.5, probabilities=False)
    monkeypatch.setattr(metrics, "CLASSES", 40)
    cut = LabelSums.of(SCORES, TRUTH, OWNER, E, 0.5, probabilities=False)
    assert cut.curve.shape[2] < exact.curve.shape[2] and cut.shift != 0
    weights = np.array([[1, 1, 1, 1], [2, 0, 1, 1], [0, 1, 3, 0]], float)
    a, b = exact.values(weights)["auprc"], cut.values(weights)["auprc"]
    assert b[0] == pytest.approx(a[0], rel=1e-12) and b == pytest.approx(a, abs=0.02)


def test_what_would_divide_by_zero_is_nan():
    nothing = np.zeros_like(TRUTH)
    found = LabelSums.of(SCORES, nothing, OWNER, E, 2.0, False).values(np.ones((1, E)))
    assert all(np.isnan(value[0]) for value in found.values())
    no_rows = LabelSums.of(SCORES[:0], TRUTH[:0], OWNER[:0], E, 0.5, True).values(np.ones((1, E)))
    assert all(np.isnan(value[0]) for value in no_rows.values())
    missed = LabelSums.of(SCORES, TRUTH, OWNER, E, 2.0, False).values(np.ones((1, E)))
    assert np.isnan(missed["precision"][0]) and missed["recall"][0] == missed["f1"][0] == 0


@pytest.mark.parametrize("times", [[1, 1, 1, 1], [2, 0, 1, 1], [0, 0, 3, 1]])
def test_a_regressors_metrics_equal_scikit_learns_on_every_resample(times):
    truth = np.where(TRUTH, SCORES, 0.3).astype(np.float32)  # the last head never varies
    guess = SCORES.round(1)
    sums = ErrorSums.of(guess, truth, OWNER, E)
    found = {name: value[0] for name, value in sums.values(np.array([times], float)).items()}
    rows = drawn(times)
    y, x = truth[rows].astype(float), guess[rows].astype(float)
    assert found["mse"] == pytest.approx(sk.mean_squared_error(y, x))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, x))
    assert found["r2_flat"] == pytest.approx(sk.r2_score(y.ravel(), x.ravel()))
    varying = sk.r2_score(y[:, :4], x[:, :4])
    assert found["r2_mean_over_heads"] == pytest.approx(varying)
    weighted = sk.r2_score(y, x, multioutput="variance_weighted")
    assert found["r2_variance_weighted"] == pytest.approx(weighted)


def test_scores_that_never_vary_have_no_r2():
    same = np.full((N, H), 0.1, np.float32)
    found = ErrorSums.of(SCORES, same, OWNER, E).values(np.ones((1, E)))
    assert all(np.isnan(found[name][0]) for name in found if name.startswith("r2"))
    none = ErrorSums.of(SCORES[:0], same[:0], OWNER[:0], E).values(np.ones((1, E)))
    assert all(np.isnan(value[0]) for value in none.values())
