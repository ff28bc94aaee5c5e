"""Grids of multi-hop questions, against the library used by hand."""

import json
from dataclasses import replace

import pandas as pd
import pytest

import retrieval_lens as rl
from retrieval_lens import viz
from retrieval_lens.cli import main
from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments import (
    NeedleGrid,
    QuestionGrid,
    grid_from_json,
    load_active,
    load_results,
    load_static,
    load_step_effects,
    run_grid,
)
from tests.experiments.fake_worker import FakeWorker, run_fake

SMALL = QuestionGrid(
    questions=[3, 4],
    detection_questions=[50],
    n_paragraphs=2,
    orders=("facts_first", "facts_last"),
    conditions=("none", "dynamic", "static_by_count", "static"),
    max_new_tokens=3,
    device="cpu",
)


def test_places_are_every_combination():
    grid = QuestionGrid(questions=[1, 2, 5], n_paragraphs=(4, 10), orders=("given", "shuffled"))
    places = grid.places(detection=False)
    assert len(places) == 3 * 2 * 2
    assert places[0] == {
        **{"source": "own", "n_paragraphs": 4, "order": "given", "max_tokens": None},
        "question": 1,
    }
    assert len(grid.places(detection=True)) == 10 * 2 * 2
    assert grid.score == "reasoning" and grid.shared_start(places[0]) is None


def test_a_grid_knows_its_task_in_json():
    content = json.loads(json.dumps(SMALL.as_json()))
    assert grid_from_json(content) == SMALL and content["task"] == "questions"
    assert isinstance(grid_from_json({"n_tokens": 100}), NeedleGrid)
    with pytest.raises(UnknownNameError, match="no grids of a task 'maths'; known: needle, quest"):
        grid_from_json({"task": "maths"})
    with pytest.raises(InputError, match="a grid of the task 'questions', not of 'needle'"):
        NeedleGrid.from_json(content)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (
            {"questions": [1], "detection_questions": [1, 2]},
            InputError,
            r"questions \[1\] are both",
        ),
        ({"questions": []}, InputError, "questions is empty"),
        ({"questions": [-1]}, InputError, "wanted questions >= 0"),
        ({"n_paragraphs": 0}, InputError, "n_paragraphs >= 1"),
        ({"max_tokens": [100, 0]}, InputError, "wanted max_tokens >= 1, or None"),
        ({"max_tokens": [None, 100]}, InputError, "is no length beside others"),
        ({"max_tokens": [None, "x"]}, InputError, "max_tokens holds whole numbers; got 'x'"),
        ({"orders": "backwards"}, UnknownNameError, "no order 'backwards'; known: given"),
        ({"detection_questions": []}, InputError, "needs static heads: give a detection corpus"),
    ],
)
def test_what_cannot_be_run_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        QuestionGrid(**fields)


def test_a_question_that_is_not_there_is_refused(smollm2):
    place = SMALL.places(False)[0] | {"question": 999}
    with pytest.raises(InputError, match="no question 999 in 'own': it has 61"):
        SMALL.example(smollm2.tokenizer, place)


@pytest.fixture(scope="module")
def questions_run(smollm2, tmp_path_factory):
    out = tmp_path_factory.mktemp("questions")
    return out, run_grid(SMALL, out, model=smollm2, progress=False)


@pytest.mark.slow
def test_a_condition_is_what_the_ablator_does_alone(smollm2, questions_run):
    folder, frame = questions_run
    chosen = rl.tasks.hotpotqa.read("own")[4].id
    made = rl.tasks.hotpotqa.own(smollm2.tokenizer, n_paragraphs=2, order="facts_last")
    example = next(one for one in made if one.meta["question_id"] == chosen)
    where = (frame.question == 4) & (frame.order == "facts_last")
    score = rl.Reasoning()
    trace = rl.RetrievalTracer(smollm2).trace(example, 3)
    run = rl.Ablator(smollm2).generate(example, rl.Dynamic(score=score), 3)
    row = frame[where & (frame.condition == "dynamic")].iloc[0]
    assert row.example_id == example.id and row.question_id == example.meta["question_id"]
    assert row.text == run.text and row.f1 == run.metrics["f1"] and row.em == run.metrics["em"]
    assert row.n_masked_mean == float(run.n_masked.double().mean())
    effect = rl.Ablator(smollm2).step_effect(trace, rl.Dynamic(score=score), score=score)
    mean = effect[effect.is_retrieval].delta_log_prob.mean()
    assert row.effect_retrieval == pytest.approx(mean, abs=1e-4)
    active = {one.example_id: one.active for one in load_active(folder)}
    assert active[example.id].equal(trace.active("reasoning"))
    chosen = rl.tasks.hotpotqa.read("own")[50].id
    assert all(chosen in name for name in load_static(folder).example_ids)
    static = frame[where & (frame.condition == "static")].iloc[0]
    both = frame[(frame.order == "facts_last") & (frame.condition == "dynamic")]
    steps = (both.n_masked_mean * both.n_steps).sum() / both.n_steps.sum()
    assert static["count"] == round(steps), "the mean is over the questions of the place"


def test_the_command_takes_its_config(capsys, monkeypatch, tmp_path):
    from retrieval_lens import experiments

    grids = []

    def run_grid(grid, out, *args, **options):
        grids.append(grid)
        return run_fake(out, FakeWorker(grid), grid)

    monkeypatch.setattr(experiments, "run_grid", run_grid)
    config = tmp_path / "grid.json"
    config.write_text(json.dumps(SMALL.as_json() | {"models": ["fake"]}))
    for arguments in (
        ("run", "--config", config, "--out", tmp_path / "out", "--mode", "uniform"),
        ("plot", tmp_path / "out", "--out", tmp_path / "page.html"),
    ):
        with pytest.raises(SystemExit) as exit:
            main(["grid", *map(str, arguments)])
        assert exit.value.code == 0, capsys.readouterr().err
    assert isinstance(grids[0], QuestionGrid) and grids[0].mode == "uniform"
    frame = load_results(tmp_path / "out")
    assert list(frame.columns[:8]) == [
        *("model", "source", "n_paragraphs", "order", "max_tokens", "question"),
        *("example_id", "prompt"),
    ]
    assert "f1 by paragraphs and their order" in (tmp_path / "page.html").read_text()


CUT = QuestionGrid(
    questions=[3, 4, 5],
    detection_questions=[50, 51],
    n_paragraphs=4,
    max_tokens=(150, 1000),
    conditions=("none", "dynamic", "static"),
    measures="step_effect",
    max_new_tokens=2,
    device="cpu",
)


@pytest.mark.slow
def test_a_question_that_loses_a_fact_is_counted_and_not_run(smollm2, tmp_path, capsys):
    frame = run_grid(CUT, tmp_path, model=smollm2)
    made = {
        cut: rl.tasks.hotpotqa.own(smollm2.tokenizer, n_paragraphs=4, max_tokens=cut)
        for cut in CUT.max_tokens
    }
    known = [one.id for one in rl.tasks.hotpotqa.read("own")]
    whole = {(cut, known.index(e.meta["question_id"])) for cut in made for e in made[cut]}
    rows = frame[frame.condition == "dynamic"]
    found = {(row.max_tokens, row.question): row.valid for row in rows.itertuples()}
    assert found == {(c, q): (c, q) in whole for c in CUT.max_tokens for q in CUT.questions}
    assert 0 < rows.valid.sum() < 6, "both kinds are there"
    assert (frame.groupby("condition").size() == 6).all(), "a row for each, valid or not"
    gone = frame[~frame.valid]
    assert (
        gone.invalid.str.contains("cuts . of . facts off").all()
        and frame.invalid[frame.valid].isna().all()
    )
    empty = [
        "example_id",
        "prompt",
        "effect_retrieval",
        "n_masked_mean_effect",
        "chance",
        "active_lift",
    ]
    assert gone[empty].isna().all().all()
    assert frame[frame.valid].example_id.notna().all()
    ids = set(frame[frame.valid].example_id)
    assert {one.example_id for one in load_active(tmp_path)} == ids
    assert set(load_step_effects(tmp_path).example_id) == ids
    detection = [(c, q) for c in CUT.max_tokens for q in CUT.detection_questions]
    assert len(load_static(tmp_path).example_ids) == len(whole.intersection(detection)) < 4
    assert f"{len(gone) // 3} of 6 prompts are invalid" in capsys.readouterr().err


def test_questions_that_are_not_there_are_refused_before_a_model_is_loaded(tmp_path):
    for fields in ({"questions": [999]}, {"detection_questions": [999]}):
        with pytest.raises(InputError, match="no question 999 in 'own'"):
            run_grid(replace(CUT, **fields, models="no such model"), tmp_path)


def test_a_corpus_without_a_valid_prompt_is_refused(smollm2, tmp_path):
    grid = replace(CUT, max_tokens=5)
    with pytest.raises(
        InputError, match="every prompt of the detection corpus is invalid: question"
    ):
        run_grid(grid, tmp_path, model=smollm2, progress=False)


def test_chance_and_lift_stand_beside_the_effect(smollm2, questions_run):
    frame = questions_run[1]
    example = SMALL.example(smollm2.tokenizer, SMALL.places(False)[0])
    trace = rl.RetrievalTracer(smollm2).trace(example, 3)
    active, scores = trace.active("reasoning"), trace.scores["reasoning"]
    chances = trace.chance["reasoning"].tolist()
    lifts = [float(scores[t, la, h]) / chances[t] for t, la, h in active.nonzero().tolist()]
    rows = frame[frame.example_id == example.id]
    assert rows.chance.to_numpy() == pytest.approx(sum(chances) / len(chances), rel=1e-4)
    assert rows.active_lift.to_numpy() == pytest.approx(sum(lifts) / len(lifts), rel=1e-4)
    assert len(rows) == 4, "also beside conditions that ran later"


def test_heat_maps_of_names():
    frame = pd.DataFrame(
        {"condition": "none", "n_paragraphs": [4, 10], "order": ["given", "<b>"], "f1": [0.5, 1.0]}
    )
    figure = viz.grid(frame, "f1", x="n_paragraphs", y="order")
    assert list(figure.layout.yaxis.ticktext) == ["&lt;b&gt;", "given"]
    assert list(figure.layout.xaxis.ticktext) == ["4", "10"]


def test_the_default_detection_questions_share_no_fact_with_the_others():
    grid, every = QuestionGrid(), rl.tasks.hotpotqa.read("own")

    def facts(numbers):
        one = (every[number] for number in numbers)
        return {(q.paragraphs[p][0], q.paragraphs[p][1][s]) for q in one for p, s in q.facts}

    assert not facts(grid.questions) & facts(grid.detection_questions)
