import json
from dataclasses import replace

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.detectors import Detection, as_head_set
from retrieval_lens.errors import FileFormatError, InputError, NumericalError
from retrieval_lens.files import save_json
from tests.detectors.made import detection

TOTALS = [[[0.0, 0.5], [0.5, 1.0]], [[0.0, 0.3], [0.3, 0.0]], [[9.0, 9.0], [9.0, 9.0]]]
MADE = {"weights": [1.0, 3.0, 0.0], "model": {"name": "m", "n_layers": 2, "n_heads": 2}}


def test_scores_are_totals_over_weights_and_leave_out_what_has_no_weight():
    found = detection(TOTALS, **MADE)
    assert found.scores.tolist() == [[0.0, 0.2], [0.2, 0.25]]
    assert found.scores_of([0]).tolist() == TOTALS[0]
    assert found.scores_of([2, 1]).flatten().tolist() == pytest.approx([0, 0.1, 0.1, 0])
    assert found.share == 0.75 and found.used == [0, 1] and found.n_samples == 3
    with pytest.raises(InputError, match="none of these examples counts"):
        found.scores_of([2])


def test_the_table_is_sorted_and_says_how_it_was_made():
    frame = detection(TOTALS, **MADE).frame()
    assert list(frame.columns) == ["layer", "head", "score"]
    assert frame.values.tolist() == [[1, 1, 0.25], [0, 1, 0.2], [1, 0, 0.2], [0, 0, 0.0]]
    assert frame.layer.dtype == frame["head"].dtype == "int64"
    attrs = json.loads(json.dumps(frame.attrs, allow_nan=False))
    assert attrs == frame.attrs
    assert attrs["detector"] == "made" and attrs["threshold"] == 0.1
    assert (attrs["share_above"], attrs["n_samples"], attrs["n_used"]) == (0.75, 3, 2)
    assert attrs["example_ids"] == ["e0", "e1", "e2"] and attrs["model"]["name"] == "m"


def test_a_share_counts_heads_at_the_threshold():
    assert detection([[[0.1, 0.0999, 0.11]]]).share == 2 / 3


def test_a_head_set_from_a_detection_and_from_its_table():
    found = detection(TOTALS, **MADE)
    for ranking in (found, found.frame(), found.frame().sample(frac=1, random_state=0)):
        heads = as_head_set(ranking, 3)
        assert str(heads) == "L1H1 L0H1 L1H0" and heads.scores == (0.25, 0.2, 0.2)
        assert heads.example_ids == ("e0", "e1", "e2")
        assert heads.provenance["detector"] == "made"
        assert "example_ids" not in heads.provenance
        with pytest.raises(InputError, match="was chosen on example 'e1'"):
            heads.require_unseen(["e1"])
    assert len(found.heads()) == 4 and found.heads(3) == heads
    tied = detection([[[1, 2, 2], [2, 1, 2]]]).frame().iloc[::-1]
    assert str(as_head_set(tied)) == "L0H1 L0H2 L1H0 L1H2 L0H0 L1H1"
    assert as_head_set(rl.HeadSet(["L5H5", "L0H0"]), 1).heads == ((5, 5),)
    for k in (5, -1, "2"):
        with pytest.raises(InputError, match="k "):
            found.heads(k)
    for wrong in ("L0H0", found.frame().drop(columns="score"), None):
        with pytest.raises(InputError, match="a list of heads is a Detection, a HeadSet, or a"):
            as_head_set(wrong)


def test_saved_and_loaded(tmp_path):
    found = detection(TOTALS, details={"rouge1_recall": [1.0, 0.1, 1 / 3]}, **MADE)
    loaded = Detection.load(found.save(tmp_path / "d.json"))
    assert torch.equal(loaded.totals, found.totals) and torch.equal(loaded.weights, found.weights)
    assert loaded.provenance() == found.provenance() and loaded.details == found.details


def test_a_damaged_file_is_refused(tmp_path):
    path = detection(TOTALS, **MADE).save(tmp_path / "d.json")
    text = path.read_text()
    path.write_text(text.replace("0.5", "0.6", 1))
    with pytest.raises(FileFormatError, match="does not match its checksum"):
        Detection.load(path)
    path.write_text(text[:-30])
    with pytest.raises(FileFormatError, match="is damaged"):
        Detection.load(path)
    rl.HeadSet(["L0H0"]).save(path)
    with pytest.raises(FileFormatError, match="wanted retrieval_lens.detection"):
        Detection.load(path)
    good = json.loads(text)["content"]
    for wrong in (
        {**good, "weights": [1.0]},
        {**good, "totals": [[[1.0], [1.0, 2.0]]]},
        {**good, "more": 1},
        {"totals": []},
        [],
    ):
        save_json(path, "detection", wrong)
        with pytest.raises(FileFormatError, match="is no detection"):
            Detection.load(path)
    with pytest.raises(FileNotFoundError):
        Detection.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"weights": torch.zeros(3)}, InputError, "at least one must be"),
        ({"weights": torch.tensor([-1.0, 1, 1])}, InputError, "must not be negative"),
        ({"weights": torch.tensor([float("nan"), 1, 1])}, NumericalError, "NaN or infinite"),
        ({"totals": torch.full((3, 2, 2), float("inf"))}, NumericalError, "NaN or infinite"),
        ({"totals": torch.zeros(3, 0, 2)}, InputError, "wanted totals"),
        ({"weights": torch.ones(2)}, InputError, "wanted totals"),
        ({"example_ids": ("a",)}, InputError, "wanted totals"),
        ({"totals": torch.zeros(2, 2, 2)}, InputError, "one entry for each of 3"),
        ({"details": {"x": [1.0]}}, InputError, "one entry for each of 3"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        replace(detection(TOTALS), **changes)
