import json

import pytest

import retrieval_lens as rl
from retrieval_lens.cli import main
from retrieval_lens.cli.tables import active_heads, printable, strongest_heads


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        main([*arguments])
    captured = capsys.readouterr()
    return exit.value.code, captured.out, captured.err


@pytest.fixture
def same_model(smollm2, monkeypatch):
    """Load once: the commands get the model that the session already has."""
    monkeypatch.setattr(rl.models, "load_model", lambda *args, **kwargs: smollm2)


SHORT = ("--n-tokens", "60", "--max-new-tokens", "6")


def test_trace_as_json_equals_the_library(capsys, smollm2, same_model, tmp_path):
    out = tmp_path / "a.safetensors"
    code, stdout, _ = run(capsys, "trace", *SHORT, "--format", "json", "--out", str(out))
    assert code == 0
    printed = json.loads(stdout)
    example = rl.needle_example(smollm2.tokenizer, 60, 0.5, 0)
    trace = rl.RetrievalTracer(smollm2).trace(example, 6)
    assert printed["text"] == trace.text
    assert [step["token"] for step in printed["steps"]] == list(trace.str_tokens)
    for name in ("copy_paste", "reasoning"):
        named = [step["active"][name] for step in printed["steps"]]
        assert named == active_heads(trace, name)
        for t, heads in enumerate(named):
            pairs = {(int(h[1:].split("H")[0]), int(h.split("H")[1])) for h in heads}
            assert pairs == {tuple(p) for p in trace.active(name)[t].nonzero().tolist()}
    loaded = rl.Trace.load(out)
    assert loaded.scores["reasoning"].allclose(trace.scores["reasoning"], atol=1e-4)


def test_trace_as_table(capsys, same_model):
    code, stdout, _ = run(capsys, "trace", *SHORT)
    assert code == 0
    assert "Active heads at each decode step" in stdout
    assert "response: The magic word is" in stdout and "exact 0.00" in stdout
    said = " ".join(stdout.split())
    assert " by token, " in said and " by position of the token; reasoning " in said
    assert "strongest by mean copy_paste score: L" in stdout


def test_trace_of_a_file(capsys, same_model, tmp_path):
    prompt = tmp_path / "p.txt"
    prompt.write_text("Ann has three cats. Bob has none. How many cats has Ann?")
    evidence = ("--evidence", "Ann has three cats.", "--answer", "three")
    arguments = ("--prompt", str(prompt), *evidence, "--max-new-tokens", "4", "--format", "json")
    code, stdout, _ = run(capsys, "trace", *arguments)
    assert code == 0
    assert json.loads(stdout)["provenance"]["example"]["id"] == "p.txt"


def test_the_last_line_end_of_a_file_is_no_part_of_the_prompt(capsys, same_model, tmp_path):
    ids = []
    for name, end in (("bare.txt", ""), ("edited.txt", "\n"), ("spaced.txt", "\n\n")):
        (tmp_path / name).write_text(f"Ann has three cats.\nBob has{end}")
        out = ("--out", str(tmp_path / f"{name}.safetensors"))
        given = ("--prompt", str(tmp_path / name), "--evidence", "three cats", "--no-chat")
        assert run(capsys, "trace", *given, *out, "--max-new-tokens", "1")[0] == 0
        ids.append(rl.Trace.load(out[1]).token_ids.tolist())
    assert ids[0] == ids[1] != ids[2]


def test_demo_writes_a_page_that_reads_offline(capsys, same_model, tmp_path):
    out = tmp_path / "new" / "folder"
    code, stdout, _ = run(capsys, "demo", *SHORT, "--out", str(out))
    assert code == 0
    assert str(out / "index.html") in stdout.replace("\n", "")
    page = (out / "index.html").read_text("utf-8")
    assert "Which heads retrieve, token by token" in page and "L18H6" in page
    assert rl.Trace.load(out / "trace.safetensors").n_steps == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trace", "--prompt", __file__), "error: --prompt needs --evidence"),
        (("trace", "--haystack", "nowhere"), "error: no haystack 'nowhere'"),
        (("trace", "--depth", "2"), "0 <= depth <= 1"),
        (("trace", "--needle", "thread"), "no needle format 'thread'"),
        (("trace", "--evidence", "x"), "--evidence and --answer need --prompt"),
        (("trace", "--answer", "x"), "--evidence and --answer need --prompt"),
        (
            ("trace", "--prompt", "/no/such/file", "--evidence", "x"),
            "--prompt takes a text file, and '/no/such/file' is none",
        ),
        (("trace", "--out", "/no/such/folder/a"), "--out /no/such/folder/a is a folder, or in a"),
        (("trace", "--out", "/"), "--out / is a folder"),
        (("trace", "--n-tokens", "9000"), "the model's context is 8192"),
    ],
)
def test_errors_are_one_line(capsys, same_model, arguments, message):
    code, _, stderr = run(capsys, *arguments)
    assert code == 1
    assert message in stderr
    assert stderr.strip().count("\n") == 0 and "Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trace", "--n-tokens", "abc"), "error: Invalid value for '--n-tokens'"),
        (("trace", "--format", "xml"), "'xml' is not one of 'table', 'json'"),
        (("trase",), "No such command 'trase'"),
    ],
)
def test_wrong_options_are_one_line(capsys, arguments, message):
    code, _, stderr = run(capsys, *arguments)
    assert code == 2
    assert message in stderr and stderr.strip().count("\n") == 0


def test_debug_shows_the_traceback(same_model):
    with pytest.raises(rl.errors.UnknownNameError):
        main(["trace", "--haystack", "nowhere", "--debug"])


def test_an_interrupted_run(capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(rl.models, "load_model", interrupt)
    code, _, stderr = run(capsys, "trace")
    assert code == 130 and stderr.strip() == "error: interrupted"


def test_an_error_that_nobody_foresaw(capsys, monkeypatch):
    def explode(*args, **kwargs):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(rl.models, "load_model", explode)
    code, _, stderr = run(capsys, "trace")
    assert code == 1
    assert stderr.strip() == (
        "error: ZeroDivisionError: by zero (add --debug to see where it came from)"
    )


def test_control_characters_do_not_reach_the_terminal():
    assert printable("a\x1b]0;title\x07b\nc") == "a\ufffd]0;title\ufffdb\nc"


def test_version_and_help(capsys):
    assert run(capsys, "--version")[1].strip() == rl.__version__
    assert "trace" in run(capsys, "--help")[1]


def test_strongest_heads_by_mean_then_position():
    import torch

    class Fake:
        def __init__(self, scores):
            self.scores = {"s": torch.tensor(scores)}

    traces = [Fake([[[1.0, 0.0], [1.0, 0.0]]]), Fake([[[0.0, 1.0], [1.0, 0.0]]])]
    expected = [("L1H0", 1.0), ("L0H0", 0.5), ("L0H1", 0.5), ("L1H1", 0.0)]
    assert strongest_heads(traces, "s", 4) == expected
