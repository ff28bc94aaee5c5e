"""The tables against cells written by hand."""

import pandas as pd
import pytest

from retrieval_lens.errors import InputError
from retrieval_lens.experiments import (
    NeedleGrid,
    grid_status,
    load_active,
    load_results,
    load_static,
    load_step_effects,
)
from tests.experiments.fake_worker import run_fake

GRID = NeedleGrid(
    models="by hand",
    n_tokens=100,
    depths=0.5,
    seeds=0,
    detection_seeds=9,
    conditions=("none", "static", "dynamic"),
    static_k=2,
)
MODEL = {"name": "by hand", "revision": "1"}


def effects(deltas, sizes):
    columns = {"step": [0, 1, 2], "n_heads": sizes, "delta_log_prob": deltas}
    return {**columns, "kl": [0.0, 1.0, 2.0], "is_retrieval": [False, True, True]}


def response(masked, compensated, exact=1.0):
    metrics = {"exact": exact, "answer_chars": 0.5, "rouge_l": None, "truncated": 0.0}
    return {
        "tokens": [5] * len(masked),
        "text": "x",
        "metrics": metrics,
        "outcome": "exact",
        "masked": masked,
        "compensated": compensated,
    }


def by_hand(cell, inputs):
    """Two layers of three heads; the static ones are L1H1 and L0H1, flat 4 and 1."""
    known = {"example_id": f"prompt-{cell.where['seed']}", "shape": [2, 3], "model": MODEL}
    known["prompt"] = "tokens"
    if cell.stage == "detect":
        return {**known, "sums": [0.0, 2.0, 0.0, 1.0, 3.0, 0.0], "n_steps": 4, "score": {}}
    known |= {"count": inputs["count"], "n_rows": {"generate": 2, "step_effect": 1}}
    if cell.stage == "own":
        known["clean"] = {"tokens": [5, 5], "active": [[], [0, 5]]}
        known["runs"] = {
            "none": response([[], []], None),
            "dynamic": response([[0, 1, 2], [3], []], [[2, 4], [1, 4, 5], []], exact=0.0),
        }
        known["effects"] = {
            "none": effects([0.0, 0.0, 0.0], [0, 0, 0]),
            "dynamic": effects([-1.0, -2.0, -5.0], [3, 3, 2]),
        }
    else:
        known["n_rows"] = {"generate": 1, "step_effect": 1}
        assert inputs["count"] == {"generate": 1, "step_effect": 3}
        known["runs"] = {"static": response([[4], [4]], None)}
        known["effects"] = {"static": effects([-0.5, 1.0, 2.0], [3, 3, 3])}
    return known


@pytest.fixture
def folder(tmp_path):
    run_fake(tmp_path, by_hand, GRID)
    return tmp_path


def test_one_row_a_run_in_the_order_of_the_grid(folder):
    frame = load_results(folder).set_index("condition")
    assert list(frame.index) == ["none", "static", "dynamic"]
    dynamic, static = frame.loc["dynamic"], frame.loc["static"]
    assert (dynamic.model, dynamic.example_id, dynamic.n_tokens) == ("by hand", "prompt-0", 100)
    assert dynamic.exact == 0 and static.exact == 1 and dynamic.outcome == "exact"
    assert dynamic.n_masked_mean == pytest.approx(4 / 3) and dynamic.n_steps == 3
    assert dynamic.compensated_overlap == 2, "heads 1 and 4 of step 1 are static"
    assert pd.isna(static.compensated_overlap) and pd.isna(dynamic.rouge_l)
    assert (static["count"], static.count_effect) == (1, 3) and pd.isna(dynamic["count"])
    assert dynamic.effect_retrieval == -3.5 and dynamic.effect_other == -1
    assert static.kl_retrieval == 1.5 and (static.n_retrieval_steps, static.n_other_steps) == (2, 1)
    assert dynamic.n_masked_mean_effect == pytest.approx(8 / 3)


def test_the_table_on_disk_is_the_frame(folder):
    stored = pd.read_parquet(folder / "results.parquet")
    pd.testing.assert_frame_equal(stored, load_results(folder))


def test_one_row_a_step(folder):
    frame = load_step_effects(folder)
    assert frame.condition.tolist() == ["none"] * 3 + ["static"] * 3 + ["dynamic"] * 3
    assert frame.delta_log_prob.tolist()[3:] == [-0.5, 1.0, 2.0, -1.0, -2.0, -5.0]
    assert frame["count"].tolist()[2:5] == [pd.NA, 3, 3]
    assert frame.columns.tolist()[-5:] == [
        "step",
        "n_heads",
        "delta_log_prob",
        "kl",
        "is_retrieval",
    ]


def test_active_and_static_heads(folder):
    (sets,) = load_active(folder)
    assert sets.example_id == "prompt-0" and sets.tokens.tolist() == [5, 5]
    assert sets.meta["n_tokens"] == 100 and sets.meta["haystack"] == "mixed"
    active = sets.active
    assert active.shape == (2, 2, 3)
    assert active.nonzero().tolist() == [[1, 0, 0], [1, 1, 2]]
    static = load_static(folder)
    assert static.heads == ((1, 1), (0, 1)) and static.scores == (0.75, 0.5)
    assert static.example_ids == ("prompt-9",)
    assert load_static(folder, k=3).heads[2] == (1, 0)


def test_every_place_in_the_grid_has_a_count_of_its_own(tmp_path):
    frame = run_fake(tmp_path)
    counts = {}
    for place, part in frame.groupby(["n_tokens", "depth"]):
        dynamic = part[part.condition == "dynamic"]
        steps = (dynamic.n_masked_mean * dynamic.n_steps).sum() / dynamic.n_steps.sum()
        counts[place] = round(steps)
        assert set(part[part.condition == "static"]["count"]) == {counts[place]}
    assert len(set(counts.values())) > 1, "else this shows nothing"


def test_status(folder):
    status = grid_status(folder)
    assert status.done == status.cells == {"detect": 1, "own": 1, "matched": 1}
    assert status.finished and status.has_results and not status.running
    assert status.smaller_batches == 1, "own had two conditions and one row at the end"


def test_cells_of_other_weights_are_refused(tmp_path):
    grid = NeedleGrid.from_json(GRID.as_json() | {"seeds": [0, 1]})

    def other(cell, inputs):
        return by_hand(cell, inputs) | {
            "model": {"name": "by hand", "revision": str(cell.where["seed"])}
        }

    with pytest.raises(InputError, match="mixed-100-0.5-0 was run on .*revision '0', .* is '9'"):
        run_fake(tmp_path, other, grid)
    assert len(list((tmp_path / "cells").iterdir())) == 1


def test_a_folder_without_a_grid(tmp_path):
    for load in (load_results, load_static, load_active, load_step_effects, grid_status):
        with pytest.raises(InputError, match="holds no grid: there is no manifest.json"):
            load(tmp_path)


def test_what_was_not_measured_is_refused_or_missing(tmp_path):
    fields = {"measures": ["generate"], "detection_seeds": [], "conditions": ["none", "dynamic"]}
    grid = NeedleGrid.from_json(GRID.as_json() | fields)

    def worker(cell, inputs):
        return {k: v for k, v in by_hand(cell, inputs).items() if k != "effects"}

    frame = run_fake(tmp_path, worker, grid)
    assert frame.effect_retrieval.isna().all() and frame.compensated_overlap.isna().all()
    with pytest.raises(InputError, match="has no step effects"):
        load_step_effects(tmp_path)
    with pytest.raises(InputError, match="has no detection corpus"):
        load_static(tmp_path)
