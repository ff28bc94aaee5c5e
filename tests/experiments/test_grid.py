import json

import pytest

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments import NeedleGrid, QuestionGrid, condition_names
from retrieval_lens.experiments.cells import grid_cells
from retrieval_lens.experiments.inputs import fingerprint
from retrieval_lens.files import digest


def test_a_grid_survives_json():
    grid = NeedleGrid(n_tokens=[100], depths=[0, 1], k=(0, 5), haystacks=["coast"], batch_size=4)
    again = NeedleGrid.from_json(json.loads(json.dumps(grid.as_json())))
    assert again == grid and again.depths == (0.0, 1.0) and again.detection_n_tokens == (100,)


def test_a_part_of_the_fields_is_a_grid():
    assert NeedleGrid.from_json({"n_tokens": 100}) == NeedleGrid(n_tokens=100)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"seeds": (0, 1), "detection_seeds": (1, 2)}, InputError, r"seeds \[1\] are both in"),
        ({"conditions": ("static",)}, InputError, "'static' masks as many .* add 'dynamic'"),
        ({"detection_seeds": ()}, InputError, "'static_by_count' needs static heads"),
        ({"conditions": ("dynamic_k",)}, InputError, "'dynamic_k' has one variant a k"),
        ({"conditions": ("dynamik",)}, UnknownNameError, "no condition 'dynamik'; known: dynamic,"),
        ({"conditions": ("none", "none")}, InputError, "conditions holds a value twice"),
        ({"conditions": ()}, InputError, "conditions is empty"),
        ({"measures": ("exact",)}, UnknownNameError, "no measures 'exact'; known: generate,"),
        ({"mode": "noise"}, UnknownNameError, "no mode 'noise'; known: zero, mean"),
        ({"scope": "prefill"}, UnknownNameError, "no scope 'prefill'"),
        ({"keep_kv": "none"}, UnknownNameError, "no keep_kv 'none'"),
        ({"score": "wu"}, UnknownNameError, "no score 'wu'; known: copy_paste, reasoning"),
        ({"match": "max"}, UnknownNameError, "no match 'max'"),
        ({"needles": "thread"}, UnknownNameError, "no needle format 'thread'"),
        ({"depths": (0.5, 1.5)}, InputError, "depths holds numbers from 0 to 1; got 1.5"),
        ({"depths": (0.5, float("nan"))}, InputError, "depths holds numbers from 0 to 1; got nan"),
        ({"depths": (1 / 3, 0.33333333)}, InputError, "depths holds a depth twice"),
        ({"n_tokens": (0,)}, InputError, "wanted n_tokens >= 1"),
        ({"n_tokens": (100.5,)}, InputError, "n_tokens holds whole numbers; got 100.5"),
        ({"seeds": "0-4"}, InputError, "seeds holds whole numbers; got '0-4'"),
        ({"k": (-1,)}, InputError, "k >= 0"),
        ({"random_draws": 0}, InputError, "random_draws is a whole number from 1; got 0"),
        ({"max_new_tokens": True}, InputError, "max_new_tokens is a whole number from 1"),
        ({"batch_size": 0}, InputError, "batch_size is a whole number from 1; got 0"),
        ({"haystacks": ("/a/x.txt", "/b/x.txt")}, InputError, "two haystacks would share"),
        ({"models": ("a/x", "b/x")}, InputError, "two models would share"),
        ({"models": ()}, InputError, "models is empty"),
        ({"models": ("x", "y"), "revision": "main"}, InputError, "revision is {model: revision}"),
        ({"models": "x", "revision": {"z": "main"}}, UnknownNameError, "'z', which is not in mod"),
        (
            {"mode": "mean", "conditions": "dynamic", "detection_seeds": ()},
            InputError,
            "mode 'mean' needs",
        ),
        (
            {"scope": "all", "conditions": ("none", "dynamic")},
            InputError,
            "scope='all' is for fixed sets; 'dynamic' is not",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        NeedleGrid(**fields)


def test_unknown_fields_are_refused():
    with pytest.raises(UnknownNameError, match="a grid has no 'lengths'; it has: models, revision"):
        NeedleGrid.from_json({"lengths": [100]})
    with pytest.raises(InputError, match="a grid is a JSON object, not list"):
        NeedleGrid.from_json([])


def test_cells_cover_the_grid_once_and_each_variant_runs_in_one_stage():
    grid = NeedleGrid(
        models=("one", "org/two"),
        n_tokens=(100, 200),
        depths=(0, 0.5, 1),
        seeds=range(4),
        haystacks=("coast", "essays"),
        needles=("magic_word", "boat_name"),
        conditions=condition_names(),
        k=(0, 2),
        random_draws=3,
        detection_seeds=(10, 11),
        detection_depths=0.5,
    )
    cells = grid_cells(grid)
    assert {stage: len(found) for stage, found in cells.items()} == {
        "detect": 2 * 2 * 2 * 2 * 2,
        "own": 2 * 2 * 2 * 2 * 3 * 4,
        "matched": 2 * 2 * 2 * 2 * 3 * 4,
    }
    keys = [cell.key for stage in grid.stages for cell in cells[stage]]
    assert len(set(keys)) == len(keys)
    own, matched = (grid.stage_variants(stage) for stage in ("own", "matched"))
    assert sorted(v.label for v in [*own, *matched]) == sorted(v.label for v in grid.variants)
    assert [v.label for v in matched] == [
        "example_static",
        *[f"random draw={i}" for i in range(3)],
    ] + ["static"]
    assert sum(v.condition == "random_k" for v in own) == 6


def test_without_matched_conditions_there_is_no_matched_stage():
    assert grid_cells(NeedleGrid(conditions=("none", "dynamic")))["matched"] == []


def test_the_cells_of_folders_on_disk_still_count():
    """A cell counts by the digests of its grid and inputs, and by its name."""
    assert digest(NeedleGrid().as_json()) == "e8c250a4fd514778"
    assert digest(QuestionGrid(detection_questions=range(40, 50)).as_json()) == "f883789862480235"
    assert fingerprint({"ranking": None, "count": None}) == "d4301a827351d0f3"
    known = {"ranking": {"heads": [[0, 1]]}, "count": {"generate": 2}}
    assert fingerprint(known) == "6a6750b217b3c965"
    cells = grid_cells(QuestionGrid())
    assert cells["detect"][0].key == "detect-smollm2-135m-own-10-given-None-38"
    assert cells["matched"][-1].key == "matched-smollm2-135m-own-10-given-None-19"
