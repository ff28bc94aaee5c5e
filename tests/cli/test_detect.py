import pytest
import typer
from typer.testing import CliRunner

import retrieval_lens as rl
from retrieval_lens.cli.detect import detect
from retrieval_lens.detectors import ScoreMean
from retrieval_lens.errors import InputError

SHORT = ("--n-tokens", "40", "--depth", "0.5", "--seeds", "1", "--max-new-tokens", "13")


@pytest.fixture
def run(smollm2, monkeypatch):
    """Load once: the command gets the model that the session already has."""
    monkeypatch.setattr(rl.models, "load_model", lambda *args, **kwargs: smollm2)
    app = typer.Typer()
    app.command()(detect)

    def call(*arguments):
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})

    return call


def test_strongest_heads_as_a_table_and_all_heads_as_a_file(run, smollm2, tmp_path):
    out = tmp_path / "heads.json"
    result = run(*SHORT, "--top", "3", "--out", str(out))
    assert result.exit_code == 0, result.output
    saved = rl.HeadSet.load(out)
    example = rl.needle_example(smollm2.tokenizer, 40, 0.5, 0)
    found = rl.detectors.detect(smollm2, [example], max_new_tokens=13, progress=False)
    assert saved.heads == found.heads().heads and saved.scores == found.heads().scores
    assert saved.example_ids == (example.id,) and len(saved) == 270
    shown = result.output.replace("│", " ").split()
    for head, score in zip(saved.heads[:3], saved.scores, strict=False):
        assert shown[shown.index(str(head)) + 1] == f"{score:.3f}"
    assert str(saved.heads[3]) not in shown
    assert "strongest heads by Wu et al. 2024" in result.output
    assert f"{found.share:.1%} of 270 heads score at least 0.1" in result.output
    assert "1 of 1 examples count" in result.output


@pytest.mark.parametrize(
    ("name", "score"), [("copy_paste", rl.CopyPaste), ("reasoning", rl.Reasoning)]
)
def test_other_detectors_and_a_grid_of_examples(run, smollm2, tmp_path, name, score):
    out = tmp_path / "heads.json"
    grid = ("--n-tokens", "30", "--n-tokens", "40", "--depth", "0", "--depth", "1", "--seed", "7")
    few = ("--seeds", "1", "--max-new-tokens", "2", "--needle", "boat_name", "--haystack", "coast")
    result = run("--detector", name, *grid, *few, "--out", str(out))
    assert result.exit_code == 0, result.output
    examples = [
        rl.needle_example(smollm2.tokenizer, n, depth, 7, "coast", needle="boat_name")
        for n in (30, 40)
        for depth in (0, 1)
    ]
    saved = rl.HeadSet.load(out)
    assert set(saved.example_ids) == {example.id for example in examples}
    assert saved.provenance["detector"] == ScoreMean(score()).name
    assert "4 of 4 examples count" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "/no/such/folder/a"), "is a folder, or in a folder that does not exist"),
        (("--seeds", "0"), "--seeds and --top of at least 1"),
        (("--top", "0"), "--seeds and --top of at least 1"),
        (("--depth", "2"), "0 <= depth <= 1"),
        ((*SHORT[:-1], "2"), "all 1 examples failed Wu's gate"),
        ((*SHORT, "--depth", "0.5"), "two examples have the id"),
    ],
)
def test_errors(run, arguments, message):
    result = run(*arguments)
    assert isinstance(result.exception, InputError) and message in str(result.exception)


def test_an_unknown_detector(run):
    result = run("--detector", "magic")
    assert result.exit_code == 2 and "'magic' is not one of 'wu', 'copy_paste'" in result.output


def test_detectors_that_read_more_than_decode_rows(run, smollm2, tmp_path):
    """HeadKV's gate wants short answers: refused in one line that says how near the best came."""
    out = tmp_path / "heads.json"
    result = run("--detector", "qrhead", *SHORT, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert rl.HeadSet.load(out).provenance["detector"] == rl.detectors.QRHead().name
    refused = run("--detector", "headkv", *SHORT)
    assert refused.exit_code != 0 and "F1" in str(refused.exception)
