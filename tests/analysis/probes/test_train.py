"""Training: it finds what is there, nothing where nothing is, and refuses what cannot be."""

import numpy as np
import pytest
import torch

from retrieval_lens.analysis.probes import asymmetric_loss, train_probe
from retrieval_lens.errors import InputError, NumericalError, UnknownNameError
from tests.analysis.probes.synthetic import SMALL, corpus, response

FIT = {"widths": [32], "epochs": 25, "learning_rate": 3e-3, "progress": False}


def gain(probe, metric="f1", steps="all"):
    frame = probe.report.metrics
    rows = (frame.predictor == "gain") & (frame.metric == metric) & (frame.steps == steps)
    return frame[rows].iloc[0]


@pytest.fixture(scope="module")
def planned():
    return train_probe(corpus(60), **FIT)


def test_hidden_states_that_determine_the_heads_beat_the_base_rate(planned):
    for metric in ("f1", "auprc"):
        for steps in ("all", "non_empty"):
            assert gain(planned, metric, steps).low > 0.2
    assert planned.report.value("f1") > 0.85
    assert planned.history.val_loss.iloc[-1] < planned.history.val_loss.iloc[0] / 2


@pytest.mark.parametrize("more", [{"permuted_labels": True}, {}])
def test_noise_and_permuted_labels_do_not(planned, more):
    probe = train_probe(corpus(60, signal=bool(more)), **FIT, **more)
    assert gain(probe, "auprc").low < 0.03 and gain(probe).low < 0.05
    assert probe.report.value("f1") < planned.report.value("f1") - 0.3


def test_a_regressor_finds_the_scores():
    probe = train_probe(corpus(60, labels=False), "regressor", **FIT)
    assert probe.report.value("r2_mean_over_heads") > 0.7 and gain(probe, "mse").high < 0
    assert probe.report.value("r2_mean_over_heads", "base_rate") < 0.01
    assert not probe.thresholds and not len(probe.report.calibration)


def test_heads_some_steps_later_are_not_in_independent_hidden_states():
    probe = train_probe(corpus(60), offset=2, **FIT)
    assert gain(probe, "auprc").low < 0.03


def test_same_seed_same_weights_and_the_callers_randomness_is_left_alone():
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    a, b = (train_probe(corpus(9), **SMALL) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()
    torch.manual_seed(6)
    c, d = train_probe(corpus(9), **SMALL), train_probe(corpus(9), **SMALL, seed=1)
    assert d.train_ids != a.train_ids
    weights = [list(probe.network.parameters()) for probe in (a, b, c, d)]
    for first, other, third, fourth in zip(*weights, strict=True):
        assert torch.equal(first, other) and torch.equal(first, third)
        assert not torch.equal(first, fourth)


def test_what_is_recorded():
    probe = train_probe(corpus(12), **SMALL, offset=1)
    assert list(probe.history.columns) == ["epoch", "train_loss", "val_loss", "learning_rate"]
    assert probe.history.epoch.tolist() == [1, 2, 3]
    assert probe.provenance["settings"]["widths"] == [16]
    assert probe.provenance["model"] == "synthetic" and "torch" in probe.provenance["versions"]
    sides = (probe.train_ids, probe.validation_ids, probe.test_ids)
    assert [len(side) for side in sides] == [9, 2, 1] and len(set().union(*sides)) == 12
    assert probe.report.example_ids == probe.test_ids
    assert probe.provenance["n_pairs"]["test"] == probe.report.n_pairs


def test_early_stopping_keeps_the_best_weights():
    noise = corpus(20, signal=False)
    long = {"widths": [64], "epochs": 40, "learning_rate": 0.01, "patience": 50, "progress": False}
    probe = train_probe(noise, **long, early_stopping=4)
    losses = probe.history.val_loss
    best = int(losses.idxmin()) + 1
    assert len(losses) == best + 4 < 40 and probe.provenance["weights_of_epoch"] == best
    until = train_probe(noise, **{**long, "epochs": best})
    for kept, last in zip(probe.network.parameters(), until.network.parameters(), strict=True):
        assert torch.equal(kept, last)


def test_the_learning_rate_falls_when_the_validation_loss_does_not():
    probe = train_probe(
        corpus(12, signal=False), widths=[64], epochs=30, learning_rate=0.01, progress=False
    )
    rates, losses = probe.history.learning_rate, probe.history.val_loss
    assert rates.iloc[0] == 0.01 and rates.iloc[-1] < 0.01
    drop = int((rates < 0.01).idxmax())
    assert losses[drop - 4 : drop - 1].min() > losses[: drop - 4].min() * (1 - 1e-4)


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean"])
def test_the_validation_loss_is_of_the_trained_network_without_dropout(reduction):
    found = corpus(12)
    probe = train_probe(found, **SMALL, dropout=0.5, reduction=reduction, batch_size=10_000)
    side = [one for one in found if one.example_id in probe.validation_ids]
    logits = torch.cat([probe.network(one.hidden) for one in side])
    labels = torch.cat([one.active for one in side]).flatten(1).float()
    loss = asymmetric_loss(logits, labels, reduction=reduction).item()
    assert probe.history.val_loss.iloc[-1] == pytest.approx(loss, rel=1e-5)


def test_dropout_and_clipping_are_used():
    plain, dropped, clipped = (
        train_probe(corpus(12), **SMALL, **more)
        for more in ({"dropout": 0}, {"dropout": 0.5}, {"clip_norm": 1e-14})
    )
    assert plain.history.train_loss.iloc[-1] < dropped.history.train_loss.iloc[-1]
    losses = clipped.history.val_loss  # so small a gradient is nothing beside Adam's epsilon
    assert losses.iloc[0] - losses.iloc[-1] < 1e-6 < plain.history.val_loss.diff().abs().max()


def test_fewer_steps_than_a_batch_and_a_head_that_never_fires():
    found = corpus(3, 4)
    for one in found:
        one.scores[:, 1, 2], one.active[:, 1, 2] = 0, False
        one.active[0, 0, 0] = one.scores[0, 0, 0] = True
    probe = train_probe(found, **SMALL, batch_size=1000)
    row = probe.report.per_head.iloc[5]
    assert row.n_positive == 0 and np.isnan(row.auprc) and np.isnan(row.f1)
    assert probe.provenance["n_heads_never_active_in_training"] >= 1


def test_a_linear_probe():
    assert len(train_probe(corpus(9), widths=[], epochs=1, progress=False).network) == 1


def test_by_step_all_examples_are_training_examples():
    probe = train_probe(corpus(6), **SMALL, split="step")
    assert len(probe.train_ids) == 6 and probe.report.n_pairs == round(0.1 * 78)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"offset": -1}, "offset must be a whole number from 0; got -1"),
        ({"offset": 99}, "longest response has 14 steps"),
        ({"widths": [0]}, "widths must be a whole number from 1"),
        ({"widths": 5}, "widths must be a list"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"dropout": 1}, "dropout must be a number from 0 and below 1"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"patience": -1}, "patience"),
        ({"clip_norm": 0}, "clip_norm"),
        ({"gamma_neg": -1}, "gamma_neg"),
        ({"clip": 1.0}, "clip"),
        ({"seed": -1}, "seed"),
        ({"early_stopping": 0}, "early_stopping"),
        ({"shares": (0.7, 0.2)}, "shares must be three"),
        ({"shares": (0.7, 0.3, 0.0)}, "above 0 and add up to 1"),
        ({"shares": (0.7, 0.2, 0.2)}, "above 0 and add up to 1"),
        ({"device": "abacus"}, "no device 'abacus'"),
    ],
)
def test_arguments_out_of_range(more, message):
    with pytest.raises(InputError, match=message):
        train_probe(corpus(4), **{**SMALL, **more})


@pytest.mark.parametrize("name", ["kind", "split", "reduction"])
def test_unknown_names(name):
    with pytest.raises(UnknownNameError, match=f"no {name} 'best'; wanted one of"):
        train_probe(corpus(4), **SMALL, **{name: "best"})


def test_nothing_to_learn():
    silent = [response(torch.zeros(4, 2, 3), f"e{i}") for i in range(6)]
    with pytest.raises(InputError, match="no head is active at any of the .* training side"):
        train_probe(silent, **SMALL)
    probe = train_probe(silent, "regressor", **SMALL)
    assert np.isnan(probe.report.value("r2_flat")) and probe.report.value("mse") < 1


def test_nothing_to_choose_a_threshold_on():
    ids = train_probe(corpus(6), **SMALL).validation_ids
    found = corpus(6)
    for one in found:
        if one.example_id in ids:
            one.active[:] = False
    with pytest.raises(InputError, match="validation side"):
        train_probe(found, **SMALL)


def test_a_loss_that_overflows():
    with pytest.raises(NumericalError, match="epoch 1: the training loss is"):
        train_probe(corpus(4), "regressor", **SMALL, learning_rate=1e30, batch_size=4)
