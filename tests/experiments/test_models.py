"""A grid of several models is as many grids of one model."""

import pandas as pd
import pytest

from retrieval_lens import viz
from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments import (
    NeedleGrid,
    grid_status,
    load_active,
    load_results,
    load_static,
    load_step_effects,
    run_grid,
)
from retrieval_lens.experiments.executors import LocalExecutor
from retrieval_lens.experiments.runner import run_with
from tests.experiments.fake_worker import GRID, FakeWorker, run_fake

BOTH = NeedleGrid.from_json(GRID.as_json() | {"models": ["fake", "org/other"]})


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    out = tmp_path_factory.mktemp("both")
    return out, run_fake(out, grid=BOTH)


@pytest.mark.parametrize("model", BOTH.models)
def test_each_model_is_its_own_grid(tmp_path, both, model):
    alone = run_fake(tmp_path, grid=NeedleGrid.from_json(GRID.as_json() | {"models": model}))
    folder, frame = both
    part = frame[frame.model == model].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, alone)
    steps = load_step_effects(folder)
    steps = steps[steps.model == model].reset_index(drop=True)
    pd.testing.assert_frame_equal(steps, load_step_effects(tmp_path))
    assert load_static(folder, model=model) == load_static(tmp_path)
    ours, theirs = (load_active(f, model=model) for f in (folder, tmp_path))
    assert [a.active.tolist() for a in ours] == [b.active.tolist() for b in theirs]
    assert {a.meta["model"] for a in ours} == {model}


def test_models_differ_else_this_shows_nothing(both):
    folder, frame = both
    assert load_static(folder, model="fake") != load_static(folder, model="org/other")
    counts = frame[frame.condition == "static"].groupby("model")["count"].apply(list)
    assert counts["fake"] != counts["org/other"]


def test_a_model_must_be_chosen_where_there_are_two(both):
    for load in (load_static, load_active):
        with pytest.raises(InputError, match=r"several models: say model=, one of .'fake', 'org/"):
            load(both[0])
        with pytest.raises(UnknownNameError, match="no model 'mine' .* it has: fake, org/other"):
            load(both[0], model="mine")
    with pytest.raises(InputError, match="model= is 'smollm2-135m'|model= stays"):
        run_grid(BOTH, both[0], model=object(), workers=2)


def test_each_model_is_opened_once_and_closed_before_the_next(tmp_path):
    seen = []

    class Watched(LocalExecutor):
        def __init__(self, model):
            super().__init__(lambda: FakeWorker(BOTH))
            seen.append(("open", model))

        def close(self):
            seen.append("closed")
            super().close()

    run_with(Watched, BOTH, tmp_path, progress=False)
    assert seen == [("open", "fake"), "closed", ("open", "org/other"), "closed"]
    assert grid_status(tmp_path).finished


def test_pictures_tell_models_apart(both):
    frame = both[1]
    panels = [a.text for a in viz.grid(frame, "exact").layout.annotations]
    assert "fake: dynamic" in panels and "org/other: dynamic" in panels
    with_k = frame[frame.k.notna()]
    names = {t.name for t in viz.curves(with_k, y="exact").data if t.name}
    assert names == {"fake: dynamic_k", "org/other: dynamic_k"}


def test_weights_are_compared_within_a_model(tmp_path, both):
    """Two models in a folder are no mixture; two weights under one name are."""

    class Changing(FakeWorker):
        def __call__(self, cell, inputs):
            found = super().__call__(cell, inputs)
            revision = "new" if cell.stage == "own" and cell.model == "org/other" else "old"
            return found | {"model": found["model"] | {"revision": revision}}

    with pytest.raises(InputError, match="org_?/?other.*other.* revision 'new'|revision 'new'"):
        run_fake(tmp_path, Changing(BOTH), BOTH)
    done = load_results(tmp_path, partial=True)
    assert set(done.model) == {"fake"}


def test_prompts_that_are_the_same_are_said(tmp_path, capsys):
    class Same(FakeWorker):
        def __call__(self, cell, inputs):
            found = super().__call__(cell, inputs)
            return found | {"prompt": f"{cell.where['n_tokens']}-{cell.where['seed']}"}

    run_with(lambda model: LocalExecutor(lambda: Same(GRID)), GRID, tmp_path)
    assert "6 of 12 prompts are the same as another one" in capsys.readouterr().err


@pytest.mark.slow
def test_two_real_models_run_one_after_the_other(tmp_path, random_run, smollm2):
    grid, folder, expected = random_run
    names = ["smollm2-135m", *grid.models]
    frame = run_grid(NeedleGrid.from_json(grid.as_json() | {"models": names}), tmp_path)
    part = frame[frame.model == grid.models[0]].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, expected)
    assert set(frame.model) == set(names)
    assert load_static(tmp_path, model=names[1]) == load_static(folder)
