"""A tiny grid of the real model, against the library used by hand, one prompt at a time."""

import pandas as pd
import pytest

import retrieval_lens as rl
from retrieval_lens.errors import InputError
from retrieval_lens.experiments import (
    NeedleGrid,
    grid_status,
    load_active,
    load_static,
    load_step_effects,
    run_grid,
)
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.worker import GridWorker
from tests.experiments.conftest import TINY, without_floats

PROMPT = {"n_tokens": 40, "depth": 0.2, "seed": 1}


@pytest.fixture(scope="module")
def by_hand(smollm2):
    """The clean trace of one prompt, without a shared prefix."""
    example = rl.needle_example(smollm2.tokenizer, *PROMPT.values())
    return example, rl.RetrievalTracer(smollm2).trace(example, 5)


@pytest.fixture(scope="module")
def ranking(smollm2):
    """All heads, ranked by hand on the detection prompt."""
    example = rl.needle_example(smollm2.tokenizer, 40, 0.5, 9)
    return rl.static_heads([rl.RetrievalTracer(smollm2).trace(example, 5)], k=None)


def rows_of(frame: pd.DataFrame, **where) -> pd.DataFrame:
    for name, value in {**PROMPT, **where}.items():
        frame = frame[frame[name] == value]
    return frame


def test_the_static_heads_are_those_of_static_heads(tiny_run, ranking):
    expected, found = ranking.top(20), load_static(tiny_run[0])
    assert found.heads == expected.heads
    assert found.scores == pytest.approx(expected.scores, abs=1e-9)
    assert found.example_ids == expected.example_ids


def test_the_clean_heads_are_those_of_the_trace(tiny_run, by_hand):
    example, trace = by_hand
    active = {sets.example_id: sets for sets in load_active(tiny_run[0])}
    assert len(active) == 2
    assert active[example.id].active.equal(trace.active())
    assert active[example.id].tokens.tolist() == trace.tokens.tolist()
    frame = rl.analysis.dynamism(load_active(tiny_run[0]), n_resamples=50)
    assert not frame.empty


@pytest.mark.parametrize("name", ["none", "dynamic", "dynamic_k", "static_by_count"])
def test_a_condition_is_what_the_ablator_does_alone(smollm2, tiny_run, by_hand, ranking, name):
    example, trace = by_hand
    heads = {
        "none": None,
        "dynamic": rl.Dynamic(),
        "dynamic_k": rl.Dynamic(k=1, ties=ranking),
        "static_by_count": rl.StaticByCount(ranking),
    }[name]
    ablator = rl.Ablator(smollm2)
    run = ablator.generate(example, heads, 5)
    folder, frame = tiny_run
    row = rows_of(frame, condition=name).iloc[0]
    assert row.text == run.text and row.exact == run.metrics["exact"]
    assert row.n_masked_mean == float(run.n_masked.double().mean())
    if name != "none":
        overlap = [len(set(step) & set(ranking.top(20))) for step in run.compensated()]
        assert row.compensated_overlap == max(overlap)
    effect = ablator.step_effect(trace, heads)
    steps = rows_of(load_step_effects(folder), condition=name)
    assert steps.delta_log_prob.tolist() == pytest.approx(effect.delta_log_prob.tolist(), abs=1e-4)
    assert steps.kl.tolist() == pytest.approx(effect.kl.tolist(), abs=1e-4)
    assert steps.n_heads.tolist() == effect.n_heads.tolist()
    mean = effect[effect.is_retrieval].delta_log_prob.mean()
    assert row.effect_retrieval == pytest.approx(mean, abs=1e-4)


def test_matched_conditions_mask_the_mean_count_of_their_place_in_the_grid(tiny_run):
    folder, frame = tiny_run
    shape = (30, 9)
    for depth, place in frame.groupby("depth"):
        dynamic = place[place.condition == "dynamic"]
        steps = dynamic.n_steps * dynamic.n_masked_mean
        expected = round(steps.sum() / dynamic.n_steps.sum())
        matched = place[place.condition.isin(["static", "random"])]
        assert set(matched["count"]) == {expected} and set(matched.n_masked_mean) == {expected}
        effects = load_step_effects(folder)
        effects = effects[effects.depth == depth]
        by_step = effects[effects.condition == "dynamic"].n_heads.mean()
        assert set(effects[effects.condition == "random"].n_heads) == {round(by_step)}
        for key, runs in without_floats(folder).items():
            if not key.startswith(f"matched-smollm2-135m-magic_word-mixed-40-{depth:g}-"):
                continue
            for draw in (0, 1):
                heads = rl.random_heads(shape, expected, seed=draw)
                flat = sorted(layer * 9 + head for layer, head in heads)
                assert runs[0][f"random draw={draw}"][1][0] == flat
            static = load_static(folder).top(expected)
            flat = sorted(layer * 9 + head for layer, head in static)
            assert all(step == flat for step in runs[0]["static"][1])


@pytest.mark.slow
def test_two_worker_processes_give_the_same_frame(tmp_path, random_run):
    grid, here, expected = random_run
    frame = run_grid(grid, tmp_path, workers=2, progress=False)
    assert 0 < expected[expected.condition == "dynamic"].n_masked_mean.max() < 12
    pd.testing.assert_frame_equal(frame, expected, rtol=0, atol=1e-4)
    assert without_floats(tmp_path) == without_floats(here)


def test_a_cell_does_not_depend_on_what_ran_before(smollm2, tiny_run):
    first, second = (GridWorker(TINY, "smollm2-135m", smollm2) for _ in range(2))
    place = {"needle": "magic_word", "haystack": "mixed", "n_tokens": 40, "seed": 9}
    cells = [Cell.at("detect", "smollm2-135m", place | {"depth": d}) for d in (0.2, 0.9)]
    empty = {"ranking": None, "count": None}
    forwards = [first(cell, empty) for cell in cells]
    backwards = [second(cell, empty) for cell in reversed(cells)]
    assert forwards == backwards[::-1], "to the last bit"


def test_a_batch_that_does_not_fit_is_halved_and_noted(smollm2, monkeypatch, tmp_path):
    import torch

    asked = []
    real = rl.Ablator.generate_many

    def small(self, *args, batch_size, **options):
        asked.append(batch_size)
        if batch_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, *args, batch_size=batch_size, **options)

    monkeypatch.setattr(rl.Ablator, "generate_many", small)
    grid = NeedleGrid.from_json(
        TINY.as_json()
        | {"depths": [0.2], "seeds": [0], "max_new_tokens": 2, "conditions": ["none", "dynamic"]}
    )
    frame = run_grid(grid, tmp_path, model=smollm2)
    assert asked == [2, 1] and len(frame) == 2
    assert grid_status(tmp_path).smaller_batches == 1


def test_a_fingerprint_tells_weights_apart():
    from retrieval_lens.models import weights_fingerprint as fingerprint
    from tests.tiny_models import tiny_bridge

    same = fingerprint(tiny_bridge("llama-gqa"))
    assert same == fingerprint(tiny_bridge("llama-gqa"))
    assert same != fingerprint(tiny_bridge("llama-gqa", seed=1))


def test_mean_ablation_takes_its_reference_from_the_detection_corpus(smollm2):
    grid = NeedleGrid.from_json(TINY.as_json() | {"mode": "mean", "max_new_tokens": 2})
    worker = GridWorker(grid, "smollm2-135m", smollm2)
    assert worker.ablator.mode.example_ids == ("needle-magic_word-mixed-40-0.5-9",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "slurm"}, "no executor 'slurm'; known: local, ray"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"address": "auto"}, "address= is for executor='ray'"),
        ({"model": "bridge", "workers": 2}, "needs executor='local' and workers=1"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run_grid(TINY, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_name_is_refused(smollm2, tmp_path):
    grid = NeedleGrid.from_json(TINY.as_json() | {"models": "other"})
    with pytest.raises(InputError, match="is 'smollm2-135m', the grid's models are .'other'"):
        run_grid(grid, tmp_path / "out", model=smollm2)
