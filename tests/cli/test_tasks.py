"""`--task questions` of `trace`, `detect` and `collect`, and which options go with which task."""

import json

import pytest

import retrieval_lens as rl
from retrieval_lens.cli import main
from retrieval_lens.detectors import HeadKV, QRHead, ScoreMean, Wu
from retrieval_lens.tasks import hotpotqa

SMALL = ("--task", "questions", "--n-paragraphs", 2, "--max-new-tokens", 3)


@pytest.fixture
def run(capsys, monkeypatch, smollm2):
    """A command on the model that the session already has: exit code, stdout, stderr."""
    monkeypatch.setattr(rl.models, "load_model", lambda *_, **__: smollm2)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments):
        with pytest.raises(SystemExit) as exit:
            main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return exit.value.code, captured.out, captured.err

    return call


@pytest.fixture
def without_model(run, monkeypatch):
    """The same, but a model that is asked for is a failure."""
    monkeypatch.setattr(rl.models, "load_model", lambda *_, **__: pytest.fail("loaded a model"))
    return run


def library_trace(model, example):
    scores = [rl.CopyPaste(), rl.CopyPaste(match="position"), rl.Reasoning()]
    return rl.RetrievalTracer(model, scores).trace(example, 3)


def rows(table):
    """Cells of the lines of a printed table."""
    lines = [line for line in table.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


def test_trace_of_a_question_as_json(run, smollm2):
    chosen = ("--question", 1, "--order", "facts_last", "--seed", 5)
    code, stdout, stderr = run("trace", *SMALL, *chosen, "--format", "json")
    assert code == 0, stderr
    options = {"n_paragraphs": 2, "order": "facts_last", "seed": 5}
    example = hotpotqa.own(smollm2.tokenizer, limit=2, **options)[1]
    trace, found = library_trace(smollm2, example), json.loads(stdout)
    assert found["provenance"]["example"]["id"] == example.id
    assert found["text"] == trace.text and found["metrics"] == trace.metrics
    facts = set(example.evidence.tolist())
    for t, step in enumerate(found["steps"]):
        length = len(example.token_ids) + t
        counted = {i for i in range(length) if 4 <= i < length - 32} | facts
        chance = len(facts) / len(counted)
        assert step["chance"]["reasoning"] == pytest.approx(chance)
        assert step["threshold"]["reasoning"] == pytest.approx(max(0.1, 2 * chance))
        assert step["chance"]["copy_paste"] is None and step["threshold"]["copy_paste"] == 0.5
        active = (trace.scores["reasoning"][t] > max(0.1, 2 * chance)).nonzero().tolist()
        assert sorted(step["active"]["reasoning"]) == sorted(f"L{a}H{b}" for a, b in active)


def test_the_table_of_a_question_shows_chance_threshold_and_reasoning_heads(run, smollm2):
    code, stdout, stderr = run("trace", *SMALL)
    assert code == 0, stderr
    example = hotpotqa.own(smollm2.tokenizer, limit=1, n_paragraphs=2)[0]
    trace = library_trace(smollm2, example)
    chance, above = trace.chance["reasoning"], trace.active("reasoning")
    printed = list(rows(stdout))
    assert len(printed) == trace.n_steps
    for t, (step, _, level, threshold, n, strongest) in enumerate(printed):
        assert (step, level) == (str(t), f"{chance[t]:.3f}")
        assert threshold == f"{max(0.1, 2 * float(chance[t])):.3f}"
        assert int(n) == above[t].sum()
        scores = trace.scores["reasoning"][t]
        best = scores[above[t]].sort(descending=True).values[:3].tolist()
        for cell, score in zip(strongest.split("  ") if best else [], best, strict=True):
            layer, head = map(int, cell.split()[0][1:].split("H"))
            assert scores[layer, head] == score and cell.split()[1] == f"{score:.2f}"
    assert f"; reasoning {above.sum()}" in " ".join(stdout.split()) and above.sum() > 0
    assert f"question: {example.question}" in stdout and f"answer:   {example.answer}" in stdout


def test_either_table_for_either_task(run):
    needle = ("--n-tokens", 40, "--max-new-tokens", 2)
    by_score = {
        ("copy_paste", SMALL): run("trace", *SMALL, "--score", "copy_paste")[1],
        ("reasoning", needle): run("trace", *needle, "--score", "reasoning")[1],
    }
    for (score, task), stdout in by_score.items():
        assert ("threshold" in stdout) == (score == "reasoning")
        assert ("Active heads at each decode step" in stdout) == (score == "copy_paste")
        assert ("question: " in stdout) == (task is SMALL)


def record(name):
    both = [{"title": t, "paragraph_text": f"{t} is by {name}."} for t in ("Orr", "Ulm")]
    paragraphs = [{**one, "is_supporting": one["title"] == "Orr"} for one in both]
    return {"id": name, "question": "Where is Orr?", "answer": name, "paragraphs": paragraphs}


def test_a_file_of_another_format(run, tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(json.dumps(record(name)) for name in ("Ey", "Wye")))
    chosen = ("--source", path, "--reader", "musique", "--question", 1, "--no-chat")
    code, stdout, stderr = run("trace", *SMALL, *chosen, "--format", "json")
    assert code == 0, stderr
    assert (
        json.loads(stdout)["provenance"]["example"]["id"] == "musique-Wye@2paragraphs-seed0-plain"
    )
    code, _, stderr = run("trace", *SMALL, "--source", path)
    assert code == 1 and "is not JSON" in stderr


@pytest.mark.parametrize(
    ("name", "detector"),
    [(None, ScoreMean(rl.Reasoning())), ("qrhead", QRHead())],
)
def test_detect_on_questions(run, smollm2, tmp_path, name, detector):
    out = tmp_path / "heads.json"
    chosen = ("--questions", "1-2", "--orders", "facts_first", "--seed", 3)
    by = ("--detector", name) if name else ()
    code, stdout, stderr = run("detect", *SMALL, *chosen, *by, "--out", out)
    assert code == 0, stderr
    assert "2 questions (2 bridge)" in stdout and "dropped" not in stdout
    options = {"n_paragraphs": 2, "order": "facts_first", "seed": 3}
    examples = hotpotqa.own(smollm2.tokenizer, limit=3, **options)[1:]
    found = rl.detectors.detect(smollm2, examples, detector, max_new_tokens=3, progress=False)
    saved = rl.HeadSet.load(out)
    assert saved.heads == found.heads().heads and saved.scores == found.heads().scores
    assert saved.provenance["detector"] == detector.name
    assert saved.example_ids == tuple(one.id for one in examples)


@pytest.mark.parametrize("detector", [Wu(), HeadKV()])
def test_detectors_with_a_gate_on_questions(run, detector):
    name = type(detector).__name__.lower()
    code, _, stderr = run("detect", *SMALL, "--questions", "0", "--detector", name)
    assert code == 1 and "gate" in stderr


def test_collect_makes_every_combination(run, smollm2, tmp_path):
    chosen = ("--questions", "3", "--orders", "shuffled", "--n-paragraphs", "3,4", "--seeds", "0,1")
    code, stdout, stderr = run("collect", "--out", tmp_path / "c", *SMALL, *chosen)
    assert code == 0, stderr
    assert "4 questions" in stdout and "4 traces in" in stdout
    question = [hotpotqa.read("own")[3]]
    expected = {
        one.id: one
        for n in (3, 4)
        for seed in (0, 1)
        for one in hotpotqa.load(
            question, smollm2.tokenizer, n_paragraphs=n, order="shuffled", seed=seed, dataset="own"
        )
    }
    corpus = rl.Corpus.open(tmp_path / "c")
    assert len(expected) == 4 and set(corpus.example_ids) == set(expected)
    for trace in corpus:
        prompt = expected[trace.provenance["example"]["id"]].token_ids
        assert trace.token_ids.equal(prompt) and trace.n_steps == 3


@pytest.mark.parametrize("command", ["detect", "collect"])
def test_questions_without_their_facts_are_counted(run, smollm2, tmp_path, command):
    """The cut lies just behind the facts of the question whose last fact comes first."""
    n_tokens = {}
    for question in hotpotqa.read("own")[:2]:
        one = hotpotqa.load([question], smollm2.tokenizer, n_paragraphs=2, dataset="own")[0]
        facts = one.context[: one.context.index(one.evidence_text.split(". ")[-1][-20:]) + 20]
        n_tokens[one.id] = len(smollm2.tokenizer(facts)["input_ids"])
    kept = min(n_tokens, key=n_tokens.__getitem__)
    cut = min(n_tokens.values()) + 1
    out = tmp_path / "out"
    more = ("--detector", "reasoning") if command == "detect" else ()
    chosen = ("--questions", "0-1", "--max-tokens", cut, "--out", out, *more)
    code, stdout, stderr = run(command, *SMALL, *chosen)
    assert code == 0, stderr
    assert f"1 dropped (1: max_tokens={cut} cuts 1 of 2 facts off)" in stdout
    read = rl.HeadSet.load if command == "detect" else rl.Corpus.open
    assert list(read(out).example_ids) == [f"{kept}-{cut}tokens"]


def test_layouts_of_one_id_are_refused(run, tmp_path):
    chosen = ("--questions", "0", "--n-paragraphs", "all", "--seeds", "0,1")
    code, _, stderr = run("collect", "--task", "questions", "--out", tmp_path / "c", *chosen)
    assert code == 1 and "'own-orle-01' is there twice" in stderr


@pytest.mark.parametrize(
    ("arguments", "refused", "beside"),
    [
        (("trace", "--task", "questions", "--depth", "0.5"), "--depth", "--task questions"),
        (
            ("trace", "--task", "questions", "--needle", "boat_name", "--n-tokens", 9),
            "--n-tokens, --needle",
            "--task questions",
        ),
        (("trace", "--task", "questions", "--prompt", "p.txt"), "--prompt", "--task questions"),
        (("trace", "--order", "given"), "--order", "--task needle"),
        (("trace", "--source", "own"), "--source", "--task needle"),
        (("trace", "--prompt", "p.txt", "--depth", 0.1), "--depth", "--prompt"),
        (("trace", "--prompt", "p.txt", "--question", 0), "--question", "--prompt"),
        (("trace", "--prompt", "p.txt", "--seed", 0), "--seed", "--prompt"),
        (("trace", "--score", "reasoning", "--format", "json"), "--score", "--format json"),
        (("trace", *SMALL, "--reader", "musique"), "--reader", "--source own"),
        (("detect", "--task", "questions", "--seeds", 2), "--seeds", "--task questions"),
        (("detect", "--questions", "0"), "--questions", "--task needle"),
        (("collect", "--out", "o", "--task", "questions", "--n", 3), "--n", "--task questions"),
        (("collect", "--out", "o", "--seeds", "0"), "--seeds", "--task needle"),
    ],
)
def test_options_of_another_task(without_model, arguments, refused, beside):
    code, _, stderr = without_model(*arguments)
    assert code == 2 and stderr.count("\n") == 1
    assert f"error: {refused} cannot go with {beside}" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trace", "--question", 61), "there is no question 61 in 'own': it has 61"),
        (("trace", "--question", -1), "--question counts from 0; got -1"),
        (("trace", "--n-paragraphs", "2,4"), "--n-paragraphs wants one value here; got '2,4'"),
        (("trace", "--order", "given,shuffled"), "--order wants one value here"),
        (("trace", "--source", "no.json"), "there is no file no.json"),
        (("trace", "--source", "no.json", "--reader", "squad"), "no reader 'squad'"),
        (("detect", "--questions", "1,1"), "--questions names one twice: 1,1"),
        (("detect", "--questions", "one"), "--questions wants whole numbers"),
        (("detect", "--orders", ","), "each need at least one value"),
        (("collect", "--out", "o", "--n-paragraphs", "few"), "--n-paragraphs wants whole numbers"),
        (("collect", "--out", "o", "--seeds", "a"), "--seeds wants whole numbers"),
    ],
)
def test_wrong_values_are_told_before_a_model_is_loaded(without_model, arguments, message):
    code, _, stderr = without_model(*arguments, "--task", "questions")
    assert code == 1 and message in stderr and stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--max-tokens", 30),
            "2 paragraphs, order given, seed 0: question 'orle-01' cannot be used: max_tokens",
        ),
        (("--max-tokens", 30), "max_tokens=30 cuts 2 of 2 facts off"),
        (("--order", "up"), "no order 'up'; known: given, shuffled"),
        (("--n-paragraphs", 1), "cuts off some of 2 gold paragraphs"),
    ],
)
def test_a_question_that_cannot_be_traced(run, arguments, message):
    code, _, stderr = run("trace", *SMALL, *arguments)
    assert code == 1 and message in stderr and stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["trace", "detect", "collect"])
def test_help_keeps_the_tasks_apart_and_tells_defaults(without_model, command):
    code, stdout, _ = without_model(command, "--help")
    assert code == 0
    panels, text = {}, []
    for line in stdout.splitlines():
        if line.startswith("╭─"):
            panels[line.strip("╭─╮ ")] = text = []
        elif line.startswith("│"):
            text.append(line.strip("│ "))
    needle, questions = (" ".join(panels[name]) for name in ("Needle", "Questions"))
    assert "--n-tokens" in needle and "00" in needle and "magic_word" in needle
    assert "--source" in questions and "[default: (hotpotqa)]" in questions
    assert "[default: (4)]" in questions and "--max-tokens" in questions
    assert "--n-tokens" not in " ".join(panels["Options"])
