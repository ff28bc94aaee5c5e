"""A probe in use: predictions, head sets, files, and what it refuses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from retrieval_lens.analysis.probes import Probe, evaluate_probe, train_probe
from retrieval_lens.errors import FileFormatError, InputError, NumericalError
from retrieval_lens.files import save_tensors
from retrieval_lens.heads import HeadSet
from tests.analysis.probes.synthetic import D_MODEL, SMALL, corpus, response
from tests.tiny_models import tiny_bridge

HIDDEN = torch.linspace(-2, 2, 3 * D_MODEL).view(3, D_MODEL)


@pytest.fixture(scope="module")
def probe():
    return train_probe(corpus(12), **SMALL)


@pytest.fixture(scope="module")
def regressor():
    return train_probe(corpus(12, labels=False), "regressor", **SMALL)


def test_predictions_are_the_networks_layer_by_layer(probe, regressor):
    found = probe.predict(HIDDEN)
    first, last = probe.network[0], probe.network[-1]
    logits = torch.relu(HIDDEN @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(found[:, 1, 2], logits[:, 5].sigmoid())
    torch.testing.assert_close(found[:, 0, 1], logits[:, 1].sigmoid())
    torch.testing.assert_close(probe.predict(HIDDEN[1]), found[1])
    assert probe.predict(HIDDEN.view(3, 1, D_MODEL)).shape == (3, 1, 2, 3)
    raw = regressor.predict(100 * HIDDEN)
    assert raw.min() < 0 or raw.max() > 1, "a regressor's scores are not clipped"


def test_active_is_from_the_threshold_on(probe, regressor):
    found = probe.predict(HIDDEN)
    at = replace(probe, thresholds={"probe": float(found[0, 0, 0])})
    assert torch.equal(at.active(HIDDEN), found >= found[0, 0, 0]) and at.active(HIDDEN)[0, 0, 0]
    with pytest.raises(InputError, match="a regressor has no threshold"):
        regressor.active(HIDDEN)


def test_top_heads_are_ranked_and_know_their_examples(probe):
    one, found = probe.top_heads(HIDDEN[0], 4), probe.predict(HIDDEN)[0]
    assert isinstance(one, HeadSet) and len(one) == 4
    assert one.scores == tuple(sorted(found.flatten().tolist(), reverse=True)[:4])
    assert [found[head].item() for head in one] == list(one.scores)
    assert one.example_ids == tuple(sorted({*probe.train_ids, *probe.validation_ids}))
    with pytest.raises(InputError, match="was chosen on example"):
        one.require_unseen(probe.validation_ids)
    many = probe.top_heads(HIDDEN, 1)
    assert [len(one) for one in many] == [1, 1, 1] and many[0].heads == one.heads[:1]


def test_equal_predictions_rank_the_lowest_head_first(probe):
    network = torch.nn.Sequential(torch.nn.Linear(D_MODEL, 6)).requires_grad_(False)
    network[0].weight.zero_()
    network[0].bias.copy_(torch.tensor([0, 1, 0, 1, 1, 0.0]))
    assert (
        str(replace(probe, network=network).top_heads(HIDDEN[0], 5)) == "L0H1 L1H0 L1H1 L0H0 L0H2"
    )


def test_hidden_states_that_do_not_fit(probe):
    for wrong, message in (
        (torch.zeros(3, 5), r"shape \(3, 5\)"),
        (np.zeros((3, D_MODEL)), "received ndarray"),
        (torch.zeros(D_MODEL, dtype=torch.long), "received Tensor"),
    ):
        with pytest.raises(InputError, match=message):
            probe.predict(wrong)
    with pytest.raises(NumericalError, match="NaN"):
        probe.predict(HIDDEN * torch.nan)
    for n in (0, 7, 1.5, True):
        with pytest.raises(InputError, match=r"whole number in 1\.\.6"):
            probe.top_heads(HIDDEN, n)
    with pytest.raises(InputError, match="got 3 axes"):
        probe.top_heads(HIDDEN[None], 2)


@pytest.mark.parametrize("kind", ["probe", "regressor"])
def test_a_saved_probe_is_the_same_probe(kind, tmp_path, request):
    made = request.getfixturevalue(kind)
    path = made.save(tmp_path / "probe.safetensors")
    state = torch.get_rng_state()
    found = Probe.load(path)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(found.predict(HIDDEN), made.predict(HIDDEN))
    for name in ("shape", "thresholds", "train_ids", "validation_ids", "test_ids", "provenance"):
        assert getattr(found, name) == getattr(made, name)
    assert found.settings == made.settings
    pd.testing.assert_frame_equal(found.history, made.history, check_exact=True)
    for name in ("metrics", "per_head", "calibration"):
        expected = getattr(made.report, name)
        pd.testing.assert_frame_equal(getattr(found.report, name), expected, check_exact=True)
    others = corpus(6, seed=3, prefix="other", labels=kind == "probe")
    again, before = (evaluate_probe(one, others, n_resamples=20) for one in (found, made))
    pd.testing.assert_frame_equal(again.metrics, before.metrics, check_exact=True)


def test_files_that_are_no_probe(probe, tmp_path):
    path = probe.save(tmp_path / "probe.safetensors")
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[-3] ^= 1
    for content in (
        bytes(damaged),
        whole[:-1],
        whole.replace(b'\\"epoch\\"', b'\\"epock\\"'),
        b"x",
    ):
        path.write_bytes(content)
        with pytest.raises(FileFormatError):
            Probe.load(path)
    with pytest.raises(FileNotFoundError):
        Probe.load(tmp_path / "nothing")
    for kind, version, message in (
        ("other", 1, "wanted"),
        ("probe", 2, "probe' 2, wanted"),
        ("probe", 1, "lacks"),
    ):
        save_tensors(path, kind, {"network/a": HIDDEN}, {"settings": {}}, version)
        with pytest.raises(FileFormatError, match=message):
            Probe.load(path)
    with pytest.raises(InputError, match="cannot write"):
        save_tensors(path, "probe", {}, {"x": float("nan")})


def test_a_failed_save_leaves_the_old_file(probe, tmp_path, monkeypatch):
    path = probe.save(tmp_path / "probe.safetensors")
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        probe.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (response(torch.zeros(4, 2, 3), hidden=torch.zeros(4, 9)), "hidden size 9"),
        (response(torch.zeros(4, 3, 2)), r"\(layers, heads\) \(3, 2\)"),
        (response(torch.zeros(4, 2, 3), model="another"), "model 'another'.*'synthetic'"),
        (response(torch.zeros(4, 2, 3), score="reasoning"), "score 'reasoning'"),
    ],
)
def test_responses_of_another_model_are_refused(probe, other, message):
    with pytest.raises(InputError, match=message):
        evaluate_probe(probe, [other])


def test_another_model_is_refused(probe):
    bridge = tiny_bridge("llama-gqa")
    cfg = bridge.cfg
    with pytest.raises(InputError, match="it is of another model"):
        probe.require_model(bridge)
    found = [
        response(
            (torch.rand(4, cfg.n_layers, cfg.n_heads) > 0.5).float(),
            f"e{i}",
            hidden=torch.randn(4, cfg.d_model),
            model=str(cfg.model_name),
        )
        for i in range(4)
    ]
    fits = train_probe(found, **SMALL)
    fits.require_model(bridge)
    with pytest.raises(InputError, match="this model has model"):
        replace(fits, provenance={"model": "another"}).require_model(bridge)
