"""Grids of answers: rows against cells written by hand, cells against `rag.answer` alone."""

import json
import pickle
from dataclasses import replace
from functools import partial
from importlib.resources import files

import pandas as pd
import pytest

import retrieval_lens as rl
from retrieval_lens.cli import main
from retrieval_lens.errors import FileFormatError, GridError, InputError, UnknownNameError
from retrieval_lens.experiments import (
    NeedleGrid,
    RagGrid,
    grid_from_json,
    grid_status,
    load_active,
    load_answers,
    load_results,
    load_static,
    load_step_effects,
    run_grid,
)
from retrieval_lens.experiments.executors.base import attempt
from retrieval_lens.rag import RIND, STRATEGIES, Answer, Calibration, Round, Settings, answer
from tests.analysis.probes.synthetic import SMALL, corpus
from tests.experiments.fake_worker import run_fake

GRID = RagGrid(
    models="fake",
    questions=[3, 4],
    n_paragraphs=2,
    strategies=("no_context", "oracle_dynamic", "fixed_random"),
    k=(5, 10),
    random_draws=2,
)
LABELS = [
    *("no_context", "oracle_dynamic k=5", "oracle_dynamic k=10"),
    *(f"fixed_random k={k} draw={draw}" for k in (5, 10) for draw in (0, 1)),
]


def test_a_variant_for_each_k_and_each_draw():
    assert [variant.label for variant in GRID.stage_variants("answer")] == LABELS
    every = RagGrid(strategies=sorted(STRATEGIES), k=(5, 10), random_draws=3, probe="p", static="s")
    counts = pd.Series([one.condition for one in every.stage_variants("answer")]).value_counts()
    with_k = {"dynamic": 2, "static": 2, "oracle_dynamic": 2, "dynamic_random": 6}
    without = {"no_context": 1, "full_context": 1, "gold_spans": 1, "bm25": 1}
    ours = {"fixed_random": 6, "random_windows": 3, **with_k, **without}
    assert {name: counts[name] for name in ours} == ours


def pickled(value):
    """As a worker in another process gets it."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301


def test_a_grid_survives_json_and_pickle():
    threshold = Calibration(RIND(threshold=0.7), 0.5, 0.5, (1.0,), ("elsewhere-1",))
    grid = replace(GRID, settings=threshold.settings(Settings(gap=3)), threshold=None)
    again = grid_from_json(json.loads(json.dumps(grid.as_json())))
    assert again == grid == pickled(grid) and isinstance(again, RagGrid)
    assert again.threshold == 0.7 and again.loop_settings() == threshold.settings(Settings(gap=3))
    assert replace(again, threshold=2).loop_settings().rind == RIND(threshold=2)
    given = RagGrid(threshold=0.9, settings={"radius": 8, "rind": {"attention": "in_context"}})
    rind = RIND(threshold=0.9, attention="in_context")
    assert given.loop_settings() == Settings(rind=rind, radius=8)
    assert pickled(partial(grid.open_worker, "fake", None)).func.__self__ == grid


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"strategies": []}, InputError, "strategies is empty"),
        ({"strategies": ["bm25", "bm25"]}, InputError, "strategies holds a value twice"),
        ({"strategies": "dynamik"}, UnknownNameError, "no strategy 'dynamik'; known: bm25"),
        ({"strategies": "dynamic"}, InputError, "'dynamic' needs probe=, the file of a probe"),
        ({"strategies": "bm25"}, InputError, "'bm25' needs probe="),
        ({"strategies": "static", "probe": "p"}, InputError, "'static' needs static="),
        ({"k": [0]}, InputError, r"'oracle_dynamic' needs k, each from 1.*; got \(0,\)"),
        ({"k": []}, InputError, "'oracle_dynamic' needs k"),
        ({"strategies": "bm25", "probe": "p", "k": []}, InputError, "'bm25' needs k"),
        ({"k": 5.5}, InputError, "k holds whole numbers; got 5.5"),
        ({"random_draws": 0}, InputError, "random_draws is a whole number from 1; got 0"),
        ({"seed": -1}, InputError, "seed is a whole number from 0; got -1"),
        ({"questions": []}, InputError, "questions is empty"),
        ({"questions": [-1]}, InputError, "wanted questions >= 0"),
        ({"orders": "backwards"}, UnknownNameError, "no order 'backwards'"),
        ({"threshold": -1}, InputError, "threshold is a finite number from 0"),
        ({"threshold": "1"}, InputError, "threshold is a finite number from 0"),
        ({"settings": {"widths": 3}}, UnknownNameError, "Settings has no 'widths'; it has: rind"),
        ({"settings": {"rind": {"theta": 3}}}, UnknownNameError, "RIND has no 'theta'"),
        ({"settings": {"rind": 3}}, InputError, "rind is a rag.RIND or a dict"),
        ({"settings": {"remask": "never"}}, UnknownNameError, "no remask 'never'"),
        ({"settings": {"radius": -1}}, InputError, "radius is a whole number from 0"),
        ({"settings": 3}, InputError, "settings is a rag.Settings or a dict of its fields; got 3"),
        ({"probe": 3}, InputError, "probe is the path of a file; got 3"),
        ({"models": ["a", "b"], "probe": "p"}, InputError, "probe is {model: file}"),
        ({"models": ["a", "b"], "static": {"a": "s"}}, InputError, "static names .'a'., the mod"),
    ],
)
def test_what_cannot_be_run_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        RagGrid(**fields)


HAND = Round(
    draft="Ann. It",
    draft_tokens=(1, 2, 3),
    seen=(),
    kept="Ann.",
    kept_tokens=(1, 2),
    ended=False,
    rind=({"word": "It", "score": 2.5, "hit": True},),
    hit="It",
    heads=((0, 1), (3, 2)),
    positions=(7,),
    clusters=((7,),),
    windows=((5, 9),),
    rewrite="He is.",
    rewrite_tokens=(4, 5),
)


class Hand:
    """Answers with the label of the variant; question 4 is invalid. Times differ at each call."""

    seconds = 0.0

    def answer(self, where, variant):
        number = LABELS.index(variant.label)
        names = ("em", "f1", "evidence_recall", "revealed_share", "n_retrievals", "n_rounds")
        metrics = dict(zip(names, (1.0, 0.5, 0.25, number / 8, 1.0, 2.0), strict=True))
        rounds = (HAND, replace(HAND, hit=None, windows=None, rewrite_tokens=()))
        text = f"{where['question']} {variant.label}"
        made = {"seed": number, "context": [4, 14], "evidence": [3, 5, 6, 11]}
        return Answer(text, (1, 2, 4, 5), metrics, rounds, "end_of_text", made)

    def __call__(self, cell, inputs):
        assert not inputs
        known = {"model": {"name": "fake"}}
        if cell.where["question"] == 4:
            return {**known, "invalid": "a fact is cut off"}
        details = {"question_id": "orle-04", "type": "bridge", "depth": 0.5, "n_tokens": 300}
        known |= {"example_id": f"q{cell.where['question']}", "prompt": "p", "details": details}
        Hand.seconds += 1
        variants = GRID.stage_variants(cell.stage)
        answers = {v.label: self.answer(cell.where, v).as_json() for v in variants}
        timed = {name: {"seconds": Hand.seconds, "answer": one} for name, one in answers.items()}
        return {**known, "prefill_seconds": 2.5, "answers": timed}


def test_one_row_an_answer(tmp_path, capsys):
    frame = run_fake(tmp_path, Hand(), GRID)
    assert list(frame.columns) == [
        *("model", "source", "n_paragraphs", "order", "max_tokens", "question", "example_id"),
        *("prompt", "valid", "invalid", "question_id", "type", "depth", "n_tokens"),
        *("condition", "k", "draw"),
        *("em", "f1", "evidence_recall", "revealed_share", "first_recall", "first_share"),
        *("n_retrievals", "n_rounds", "n_steps", "seconds", "prefill_seconds"),
        *("stopped_by", "text"),
    ]
    good, gone = frame[frame.question == 3], frame[frame.question == 4]
    assert good.text.tolist() == [f"3 {label}" for label in LABELS] and good.valid.all()
    one = good.iloc[4]
    assert (one.condition, one.k, one.draw) == ("fixed_random", 5, 1)
    assert (one.em, one.f1, one.evidence_recall, one.revealed_share) == (1, 0.5, 0.25, 0.5)
    assert (one.first_recall, one.first_share) == (0.5, 0.4), "(5, 9) of evidence and context"
    assert (one.n_retrievals, one.n_rounds, one.n_steps) == (1, 2, 3 + 2 + 3)
    assert (one.question_id, one.type, one.depth, one.n_tokens) == ("orle-04", "bridge", 0.5, 300)
    assert one.seconds > 0 and one.prefill_seconds == 2.5 and one.stopped_by == "end_of_text"
    assert len(gone) == len(LABELS) and not gone.valid.any()
    assert gone[["example_id", "em", "n_retrievals", "seconds", "text"]].isna().all().all()
    pd.testing.assert_frame_equal(load_results(tmp_path), frame)
    status = grid_status(tmp_path)
    assert status.done == {"answer": 2} and status.finished and status.smaller_batches == 0


def test_the_whole_trail_is_kept(tmp_path):
    run_fake(tmp_path, Hand(), GRID)
    found = load_answers(tmp_path)
    assert found.question.tolist() == [3] * len(LABELS), "invalid questions have no answer"
    expected = [Hand().answer({"question": 3}, one) for one in GRID.stage_variants("answer")]
    assert found["answer"].tolist() == expected and found["answer"][0].rounds[0] == HAND


def test_the_table_on_disk_is_without_times_so_that_it_is_the_same_in_every_run(tmp_path):
    frames = [run_fake(tmp_path / name, Hand(), GRID) for name in "ab"]
    assert frames[0].seconds[0] != frames[1].seconds[0]
    tables = [(tmp_path / name / "results.parquet").read_bytes() for name in "ab"]
    assert tables[0] == tables[1]
    stored = pd.read_parquet(tmp_path / "a" / "results.parquet")
    pd.testing.assert_frame_equal(stored, frames[0].drop(columns=["seconds", "prefill_seconds"]))


def test_a_grid_that_was_stopped_goes_on_with_what_is_not_done(tmp_path):
    class Stops(Hand):
        def __call__(self, cell, inputs):
            if cell.where["question"] == 4:
                raise KeyboardInterrupt
            return super().__call__(cell, inputs)

    with pytest.raises(KeyboardInterrupt):
        run_fake(tmp_path, Stops(), GRID)
    first = load_results(tmp_path, partial=True)
    assert set(first.question) == {3} and len(load_answers(tmp_path, partial=True)) == len(LABELS)
    with pytest.raises(InputError, match="1 of 2 cells of stage 'answer' are done"):
        load_answers(tmp_path)
    frame = run_fake(tmp_path, Hand(), GRID)
    assert frame.seconds[0] == first.seconds[0], "the finished cell was not run again"
    path = next((tmp_path / "cells").glob("answer-*-3.json"))
    path.write_text(path.read_text().replace('"em":1.0', '"em":0.0'))
    with pytest.raises(FileFormatError, match="checksum"):
        load_answers(tmp_path)


def test_grids_of_other_kinds(tmp_path):
    run_fake(tmp_path / "rag", Hand(), GRID)
    for load in (load_active, load_static, load_step_effects):
        with pytest.raises(InputError, match="a grid of the task 'rag', which ablates no heads"):
            load(tmp_path / "rag")
    run_fake(tmp_path / "needle")
    with pytest.raises(InputError, match="a grid of the task 'needle', which has no answers"):
        load_answers(tmp_path / "needle")
    assert isinstance(grid_from_json({"n_tokens": 100}), NeedleGrid)


def test_the_command_takes_its_config(capsys, monkeypatch, tmp_path):
    from retrieval_lens import experiments

    monkeypatch.setattr(experiments, "run_grid", lambda grid, out, *_, **__: run_fake(
        out, Hand(), grid
    ))  # fmt: skip
    config = tmp_path / "grid.json"
    fields = {"task": "rag", "models": ["fake"], "questions": [3, 4], "n_paragraphs": 2}
    rest = {"strategies": GRID.strategies, "k": [5, 10], "random_draws": 2}
    config.write_text(json.dumps({**fields, **rest}))
    out = str(tmp_path / "out")
    for arguments in (["run", "--config", str(config), "--out", out], ["status", out]):
        with pytest.raises(SystemExit) as exit:
            main(["grid", *arguments])
        assert exit.value.code == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "oracle_dynamic" in printed and "finished" in printed
    assert grid_from_json(json.loads(config.read_text())) == GRID


def refuse(cell, inputs):
    raise AssertionError("nothing may run")


def static_file(folder, *example_ids):
    heads = rl.HeadSet([(i, j) for i in range(3) for j in range(4)], example_ids=example_ids)
    return heads.save(folder / "static.json")


def probe_file(folder, question=None, kind="regressor"):
    found = corpus(8, 6, labels=kind == "classifier")
    for i, one in enumerate(found):
        one.meta.update(hidden_at="ln_final.hook_out", score="reasoning")
        one.meta["question_id"] = question if question and i == 0 else f"other {i}"
    options = {**SMALL, "shares": (0.8, 0.1, 0.1)}
    return rl.analysis.train_probe(found, kind, "reasoning", **options).save(folder / "probe")


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("own-orle-04", True),
        ("own-orle-04@facts_last-4paragraphs-seed7-plain", True),
        ("own-orle-06@2paragraphs-seed0", False),
        ("hotpotqa-orle-04", False),
        ("own-orle-041", False),
    ],
)
def test_questions_that_the_static_heads_were_chosen_on_are_refused(tmp_path, name, refused):
    """Questions 3 and 4 are orle-04 and orle-05."""
    static = static_file(tmp_path, "own-orle-09", name)
    grid = replace(GRID, strategies=("no_context", "static"), static=static)
    worker = refuse if refused else lambda cell, inputs: {"model": {}, "invalid": "enough"}
    if not refused:
        assert len(run_fake(tmp_path / "out", worker, grid))
        return
    with pytest.raises(
        InputError, match=r"questions \[3\] are among those that the ranking .*json"
    ):
        run_fake(tmp_path / "out", worker, grid)
    assert not (tmp_path / "out").exists()
    allowed = replace(grid, settings={**grid.settings, "allow_overlap": True})
    with pytest.raises(GridError, match="nothing may run"):
        run_fake(tmp_path / "out", refuse, allowed)
    assert all(one.allow_overlap for one in list(allowed.made("fake").values())[1:])


def test_a_question_whose_name_begins_with_that_of_another(tmp_path):
    shipped = files("retrieval_lens.tasks") / "multihop" / "questions.json"
    records = json.loads(shipped.read_text())[:2]
    path = tmp_path / "set.json"
    path.write_text(
        json.dumps([{**one, "_id": name} for one, name in zip(records, ("a", "a-b"), strict=True)])
    )
    static = static_file(tmp_path, "hotpotqa-a-b@shuffled")
    fields = {"strategies": ("static",), "source": str(path), "static": static}
    with pytest.raises(InputError, match=r"questions \[1\] are among"):
        replace(GRID, questions=[0, 1], **fields).require_ready()
    replace(GRID, questions=[0], **fields).require_ready()
    with pytest.raises(InputError, match="no question 2 in .* it has 2"):
        replace(GRID, questions=[2], **fields).require_ready()


def test_questions_of_the_probe_and_of_the_threshold_are_refused(tmp_path):
    fields = {"strategies": ("dynamic", "bm25"), "k": 3}
    fields["probe"] = probe_file(tmp_path, "orle-05")
    with pytest.raises(InputError, match=r"questions \[4\] are among those that the probe .*probe"):
        run_fake(tmp_path / "out", refuse, replace(GRID, **fields))
    replace(GRID, questions=[3], **fields).require_ready()
    on = {**GRID.settings, "calibrated_on": ["own-orle-04@2paragraphs-seed0"]}
    with pytest.raises(InputError, match=r"questions \[3\] are among those that the threshold was"):
        run_fake(tmp_path / "out", refuse, replace(GRID, settings=on))


def test_files_that_do_not_fit_are_refused_before_anything_runs(tmp_path):
    (tmp_path / "classifier").mkdir()
    probe = probe_file(tmp_path / "classifier", kind="classifier")
    with pytest.raises(InputError, match="this probe is a classifier"):
        run_fake(tmp_path / "out", refuse, replace(GRID, strategies="dynamic", probe=probe))
    static = static_file(tmp_path)
    few = replace(GRID, strategies="static", k=(5, 13), static=static)
    with pytest.raises(InputError, match="k=13, but the ranking has 12 heads"):
        run_fake(tmp_path / "out", refuse, few)
    with pytest.raises(FileFormatError, match="safetensors"):
        run_fake(tmp_path / "out", refuse, replace(GRID, strategies="dynamic", probe=static))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        run_fake(tmp_path / "out", refuse, replace(few, static="nowhere.json"))


def test_bm25_and_random_windows_show_what_dynamic_with_the_first_k_shows(tmp_path):
    names = ("bm25", "random_windows", "dynamic")
    grid = replace(GRID, strategies=names, k=(3, 4), probe=probe_file(tmp_path))
    made = {variant.label: one for variant, one in grid.made("fake").items()}
    like = {label: one.like.k for label, one in made.items() if hasattr(one, "like")}
    assert like == {"bm25": 3, "random_windows draw=0": 3, "random_windows draw=1": 3}
    assert (made["dynamic k=3"].k, made["dynamic k=4"].k) == (3, 4)


def test_a_file_that_has_changed_is_refused(tmp_path):
    grid = replace(GRID, strategies="static", static=static_file(tmp_path))
    invalid = lambda cell, inputs: {"model": {}, "invalid": "enough"}  # noqa: E731
    run_fake(tmp_path / "out", invalid, grid)
    static_file(tmp_path, "elsewhere")
    with pytest.raises(InputError, match=r"static .*static.json: '.*' there, '.*' now"):
        run_fake(tmp_path / "out", invalid, grid)


@pytest.fixture(scope="module")
def made_on_needles(smollm2, tmp_path_factory):
    """A probe and a ranking of the real model, from needles."""
    folder = tmp_path_factory.mktemp("needles")
    tracer = rl.RetrievalTracer(smollm2)
    examples = [rl.needle_example(smollm2.tokenizer, 40, seed=seed) for seed in range(3)]
    traces = [tracer.trace(one, max_new_tokens=4) for one in examples]
    probe = rl.analysis.train_probe(traces, "regressor", "reasoning", widths=[8], epochs=2)
    static = rl.static_heads(traces, k=None, score="reasoning")
    return {"probe": probe.save(folder / "probe"), "static": static.save(folder / "static.json")}


@pytest.mark.slow
def test_a_cell_is_what_rag_answer_says_alone(smollm2, tmp_path, made_on_needles):
    settings = Settings(rind=RIND(threshold=0), max_tokens=4, draft_tokens=4, radius=3)
    grid = replace(
        GRID,
        models="smollm2-135m",
        device="cpu",
        strategies=("static", "random_windows"),
        k=3,
        seed=2,
        settings=settings,
        threshold=None,
        **made_on_needles,
    )
    frame = run_grid(grid, tmp_path, model=smollm2, progress=False)
    probe = rl.analysis.Probe.load(made_on_needles["probe"])
    ranking = rl.HeadSet.load(made_on_needles["static"])
    windows = rl.rag.RandomWindows(rl.rag.Dynamic(probe, k=3))
    chosen = [("static", None, rl.rag.Static(ranking, k=3), 2), ("random_windows", 0, windows, 2)]
    chosen += [("random_windows", 1, windows, 3)]
    ids = [one.id for one in rl.tasks.hotpotqa.read("own")]
    made = rl.tasks.hotpotqa.own(smollm2.tokenizer, n_paragraphs=2, seed=2)
    found = load_answers(tmp_path)
    assert frame.valid.all() and len(frame) == len(found) == 2 * 3
    for question in (3, 4):
        example = next(one for one in made if one.meta["question_id"] == ids[question])
        for name, draw, strategy, seed in chosen if question == 3 else chosen[:1]:
            alone = answer(smollm2, example, strategy, settings, seed=seed)
            is_it = (found.question == question) & (found.condition == name)
            is_it &= found.draw.isna() if draw is None else (found.draw == draw).fillna(False)
            (i,) = found.index[is_it]
            ours, row = found["answer"][i], frame.iloc[i]
            assert ours.tokens == alone.tokens and ours.provenance == alone.provenance
            assert ours.metrics == alone.metrics and ours.metrics["n_retrievals"] > 0
            assert [r.windows for r in ours.rounds] == [r.windows for r in alone.rounds]
            assert row.example_id == example.id and row.text == alone.text
            assert (row.f1, row.evidence_recall) == (
                *(alone.metrics[name] for name in ("f1", "evidence_recall")),
            )
    draws = found[found.condition == "random_windows"]["answer"].tolist()
    assert draws[0].rounds[0].windows != draws[1].rounds[0].windows
    assert (frame.seconds > 0).all()


def test_a_probe_of_another_model_stops_the_first_cell(smollm2, tmp_path):
    fields = {"models": "smollm2-135m", "device": "cpu", "strategies": "dynamic", "k": 3}
    grid = replace(GRID, **fields, probe=probe_file(tmp_path))
    worker = grid.open_worker("smollm2-135m", smollm2)
    cell = next(iter(rl.experiments.cells.grid_cells(grid)["answer"]))
    done, reply = attempt(worker, cell, {})
    assert not done and "it is of another model" in reply[0]
