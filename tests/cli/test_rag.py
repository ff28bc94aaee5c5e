"""`rag calibrate | answer | evaluate` against the library called by hand."""

import json

import pandas as pd
import pytest

import retrieval_lens as rl
from retrieval_lens import rag
from retrieval_lens.cli import main
from retrieval_lens.cli.rag_tables import SHOWN, print_comparison
from retrieval_lens.experiments import load_results
from retrieval_lens.files import load_json

SMALL = ("--n-paragraphs", 2)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return exit.value.code, " ".join(captured.out.split()), " ".join(captured.err.split())


@pytest.fixture
def loaded(smollm2, monkeypatch):
    """The model, without loading it again."""
    monkeypatch.setattr("retrieval_lens.models.load_model", lambda *_, **__: smollm2)
    monkeypatch.setattr("retrieval_lens.experiments.opening.load_model", lambda *_, **__: smollm2)
    return smollm2


def question(model, number):
    chosen = rl.tasks.hotpotqa.read("own")[number].id
    made = rl.tasks.hotpotqa.own(model.tokenizer, n_paragraphs=2)
    return next(one for one in made if one.meta["question_id"] == chosen)


def test_answer_prints_saves_and_draws_what_the_library_gives(capsys, loaded, tmp_path):
    code, stdout, stderr = run(
        capsys,
        *("rag", "answer", "--question", 21, *SMALL, "--k", 3, "--threshold", 0.1),
        *("--answer-tokens", 8, "--out", tmp_path / "a.json", "--plot", tmp_path / "a.html"),
    )
    assert code == 0, stderr
    settings = rag.Settings(rag.RIND(0.1), max_tokens=8)
    expected = rag.answer(loaded, question(loaded, 21), rag.OracleDynamic(3), settings)
    found = rag.Answer.load(tmp_path / "a.json")
    assert (found.text, found.rounds, found.metrics) == (
        expected.text,
        expected.rounds,
        expected.metrics,
    )
    one = next(one for one in found.rounds if one.windows is not None)
    assert f"{one.hit!r} fired" in stdout and f"L{one.heads[0][0]}H{one.heads[0][1]}" in stdout
    assert f"evidence_recall {found.metrics['evidence_recall']:.2f}" in stdout
    assert "shown to the rewrite" in (tmp_path / "a.html").read_text("utf-8")


def test_calibrate_is_the_library_s(capsys, loaded, tmp_path):
    code, stdout, stderr = run(
        capsys, "rag", "calibrate", "--questions", "3,4", *SMALL, "--out", tmp_path / "c.json"
    )
    assert code == 0, stderr
    examples = [question(loaded, 3), question(loaded, 4)]
    expected = rag.calibrate_threshold(loaded, examples, progress=False)
    assert f"threshold {expected.rind.threshold:.4f}: 50% of 2 drafts have a hit" in stdout
    assert load_json(tmp_path / "c.json", "rag_calibration") == expected.as_json()
    chosen = ("rag", "evaluate", "--out", tmp_path / "out", "--calibration", tmp_path / "c.json")
    code, _, stderr = run(capsys, *chosen, "--questions", "4,5", *SMALL)
    assert code == 1 and "questions [4] are among those that the threshold was chosen on" in stderr
    code, _, stderr = run(capsys, *chosen, "--threshold", 1)
    assert code == 2 and "--threshold cannot go with --calibration" in stderr
    one = ("rag", "answer", "--question", 4, *SMALL, "--calibration", tmp_path / "c.json")
    code, _, stderr = run(capsys, *one)
    assert code == 1 and "questions [4] are among those that the threshold was chosen on" in stderr
    code, stdout, _ = run(capsys, "rag", "calibrate", "--questions", 60, *SMALL)
    assert code == 0 and "threshold 0.0000" in stdout and "every other draft fires" in stdout


def test_evaluate_runs_the_grid_and_compares(capsys, loaded, tmp_path):
    config = tmp_path / "rag.json"
    fields = {"task": "rag", "n_paragraphs": [2], "k": [2], "settings": {"max_tokens": 4}}
    config.write_text(json.dumps(fields | {"threshold": 0.0, "questions": [60], "device": "cpu"}))
    code, stdout, stderr = run(
        capsys,
        *("rag", "evaluate", "--config", config, "--out", tmp_path / "out"),
        *("--questions", "3,4", "--strategies", "oracle_dynamic,no_context"),
        *("--baseline", "oracle_dynamic"),
    )
    assert code == 0, stderr
    frame = load_results(tmp_path / "out")
    assert sorted(set(frame.question)) == [3, 4], "an option wins over the file"
    assert list(dict.fromkeys(frame.condition)) == ["oracle_dynamic", "no_context"]
    first = frame[frame.condition == "oracle_dynamic"].first_recall.mean()
    assert first > 0 and f"oracle_dynamic k=2 │ {frame.f1[0]:.3f}"[:18] in stdout
    assert f"│ {first:.3f} │" in stdout and "Means over 2 questions" in stdout
    again = ("rag", "evaluate", "--config", config, "--out", tmp_path / "out", "--questions", "3,4")
    code, _, stderr = run(
        capsys, *again, "--strategies", "oracle_dynamic,no_context", "--baseline", "dynamc"
    )
    assert code == 1 and "no strategy 'dynamc' in the results; known: oracle_dynamic k=2" in stderr


def test_the_first_retrieval_is_compared_where_both_have_one(capsys):
    rows = [("dynamic", "a", 0.5), ("dynamic", "b", None), ("bm25", "a", 0.75), ("bm25", "b", 1.0)]
    frame = pd.DataFrame(rows, columns=["condition", "question_id", "first_recall"])
    others = dict.fromkeys([name for name in SHOWN if name != "first_recall"], 0.25)
    print_comparison(frame.assign(k=None, valid=True, **others), None)
    shown = " ".join(capsys.readouterr().out.split())
    assert "Means over 2 questions" in shown and "over that of dynamic" in shown
    assert "bm25 │ +0.250 │ 1 │" in shown, "the one question that both have"
    assert "…" not in shown, "nothing is cut in eighty columns"
    assert "nan" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("answer", "--strategy", "magic"), "no strategy 'magic'; known: bm25"),
        (("answer", "--strategy", "dynamic"), "'dynamic' needs probe="),
        (("answer", "--question", 99), "there is no question 99 in 'own'"),
        (("answer", "--k", 0), "needs k, each from 1"),
        (("answer", "--threshold", -1), "threshold is a finite number from 0"),
        (("answer", "--out", "here.txt"), "--out ends in .json"),
        (("answer", "--plot", "here.txt"), "--plot ends in .html"),
        (("answer", "--answer-tokens", 0), "max_tokens"),
        (("calibrate", "--questions", "x"), "--questions wants whole numbers"),
        (("evaluate", "--out", "o", "--config", __file__), "is not JSON"),
    ],
)
def test_wrong_options_are_one_line(capsys, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("retrieval_lens.models.load_model", None)
    code, _, stderr = run(capsys, "rag", *arguments)
    assert code == 1 and message in stderr and "Traceback" not in stderr
