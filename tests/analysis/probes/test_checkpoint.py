"""A training that was killed goes on and ends with the same weights."""

import pytest
import torch

from retrieval_lens.analysis.probes import checkpoint, train_probe, training
from retrieval_lens.errors import FileFormatError, InputError
from tests.analysis.probes.synthetic import corpus

CORPUS = corpus(9, signal=False)  # so that the validation loss soon stops falling
CHOICES = {"widths": [32, 8], "epochs": 12, "patience": 0, "learning_rate": 0.05, "progress": False}


class KilledError(Exception):
    """Stands for a kill."""


def killed_at(monkeypatch, epoch):
    """Make training stop in the middle of an epoch; all before it are written."""
    monkeypatch.setattr(checkpoint, "SHARE", 0)
    calls, real = [], training.validation_loss

    def counted(*args):
        calls.append(1)
        if len(calls) == epoch:
            raise KilledError
        return real(*args)

    monkeypatch.setattr(training, "validation_loss", counted)
    return calls


def same_weights(a, b):
    pairs = zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("more", [{}, {"early_stopping": 8}, {"kind": "regressor"}])
def test_a_killed_training_ends_with_the_same_weights(tmp_path, monkeypatch, more):
    whole = train_probe(CORPUS, **CHOICES, **more)
    assert whole.history.learning_rate[7] < 0.05 and whole.history.val_loss.idxmin() < 7
    path = tmp_path / "state.safetensors"
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        killed_at(patched, 8)
        train_probe(CORPUS, **CHOICES, **more, checkpoint=path)
    assert path.exists()
    with monkeypatch.context() as patched:
        calls = killed_at(patched, 99)
        resumed = train_probe(CORPUS, **CHOICES, **more, checkpoint=path)
    assert len(calls) == len(whole.history) - 7, "it began anew"
    assert same_weights(whole, resumed)
    assert resumed.history.equals(whole.history) and resumed.thresholds == whole.thresholds
    assert list(tmp_path.iterdir()) == []


def test_another_training_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        killed_at(patched, 3)
        train_probe(CORPUS, **CHOICES, checkpoint=path)
    for found, more in ((CORPUS, {"seed": 1}), (corpus(9, seed=5), {}), (CORPUS, {"dropout": 0.2})):
        with pytest.raises(InputError, match="a training with other settings or data"):
            train_probe(found, **CHOICES, **more, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileFormatError):
        train_probe(CORPUS, **CHOICES, checkpoint=path)
