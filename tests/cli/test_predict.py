"""`collect`, `cca`, `probe train | evaluate` against the library called by hand."""

import json

import pandas as pd
import pytest

import retrieval_lens as rl
from retrieval_lens.cli import main
from tests.ablation.test_families import example
from tests.tiny_models import tiny_bridge

CCA = {"offsets": [0, 1], "n_nulls": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Short responses of a tiny model; its heads copy nothing, but attend to the evidence."""
    folder = tmp_path_factory.mktemp("cli") / "corpus"
    return rl.collect(
        tiny_bridge("llama-gqa"), [example(seed) for seed in range(12)], folder, max_new_tokens=8
    )


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Examples that no probe was trained on."""
    folder = tmp_path_factory.mktemp("cli") / "others"
    return rl.collect(
        tiny_bridge("llama-gqa"),
        [example(seed) for seed in range(20, 24)],
        folder,
        max_new_tokens=8,
    )


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return exit.value.code, captured.out, captured.err


def test_collect_makes_the_corpus_of_needle_examples(capsys, smollm2, monkeypatch, tmp_path):
    monkeypatch.setattr("retrieval_lens.models.load_model", lambda *_, **__: smollm2)
    code, stdout, _ = run(
        capsys,
        *("collect", "--out", tmp_path / "c", "--n", 2, "--n-tokens", "40", "--depths", "0.5"),
        *("--haystacks", "coast", "--max-new-tokens", 3, "--hidden-dtype", "bfloat16"),
    )
    assert code == 0 and "2 traces in" in stdout
    expected = rl.tasks.needle_examples(
        smollm2.tokenizer, 2, n_tokens=[40], depths=[0.5], haystacks=["coast"]
    )
    corpus = rl.Corpus.open(tmp_path / "c")
    assert corpus.example_ids == [one.id for one in expected]
    assert [trace.n_steps for trace in corpus] == [3, 3]
    assert corpus.manifest["configuration"]["hidden_dtype"] == "bfloat16"


def test_cca_prints_writes_and_draws_the_frame(capsys, corpus, tmp_path):
    expected = rl.analysis.offset_cca(corpus, "reasoning", **CCA)
    code, stdout, stderr = run(
        capsys,
        *("cca", corpus.path, "--score", "reasoning", "--offsets", "0-1", "--n-nulls", 1),
        *("--out", tmp_path / "cca.csv", "--plot", tmp_path / "cca.html"),
    )
    assert code == 0, stderr
    found = pd.read_csv(tmp_path / "cca.csv")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    kept = json.loads((tmp_path / "cca.csv.json").read_text())
    assert kept["seed"] == 0 and kept["test_examples"] == expected.attrs["test_examples"]
    held_out = expected[(expected.setting == "held_out") & (expected.steps == "all")]
    top = held_out[(held_out.statistic == "top1") & (held_out.offset == 0)].iloc[0]
    assert f"{top.value:.3f}" in stdout.replace("\n", "")
    assert "Canonical correlation" in (tmp_path / "cca.html").read_text()


def test_a_probe_is_trained_saved_and_judged(capsys, corpus, others, tmp_path):
    path = tmp_path / "probe.safetensors"
    code, stdout, stderr = run(
        capsys,
        *("probe", "train", corpus.path, "--out", path, "--kind", "regressor"),
        *("--score", "reasoning", "--offset", 1, "--widths", "8,4", "--epochs", 2),
        *("--report", tmp_path / "train.parquet"),
    )
    assert code == 0, stderr
    assert "base_rate" in stdout and "probe written to" in stdout
    probe = rl.analysis.Probe.load(path)
    again = rl.analysis.train_probe(
        corpus, "regressor", "reasoning", offset=1, widths=[8, 4], epochs=2, progress=False
    )
    hidden = others[0].hidden
    assert probe.predict(hidden).equal(again.predict(hidden))
    assert pd.read_parquet(tmp_path / "train.parquet").equals(again.report.metrics)
    assert not path.with_name(path.name + ".checkpoint").exists()

    code, _, stderr = run(
        capsys, "probe", "evaluate", path, others.path, "--report", tmp_path / "others.csv"
    )
    assert code == 0, stderr
    expected = rl.analysis.evaluate_probe(probe, others).metrics
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "others.csv"), expected, check_dtype=False)
    code, _, stderr = run(capsys, "probe", "evaluate", path, corpus.path)
    assert code == 1 and "allow_overlap" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cca", "CORPUS", "--offsets", "one"), "--offsets wants whole numbers"),
        (("cca", "CORPUS", "--out", "a.txt"), "--out ends in .csv, .parquet; got 'a.txt'"),
        (("cca", "CORPUS", "--plot", "no/such/a.png"), "in a folder that does not exist"),
        (("cca", "CORPUS", "--score", "reasoning", "--statistic", "top2"), "no statistic 'top2'"),
        (("cca", "/nowhere"), "holds no corpus"),
        (("probe", "train", "CORPUS", "--out", "p.bin"), "--out ends in .safetensors"),
        (("probe", "evaluate", "/nowhere", "CORPUS"), "there is no file"),
        (("collect", "--out", "x", "--n-tokens", "a"), "--n-tokens wants whole numbers"),
        (("collect", "--out", "x", "--depths", "a"), "--depths wants numbers"),
    ],
)
def test_wrong_input_is_one_line(capsys, corpus, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [corpus.path if one == "CORPUS" else one for one in arguments]
    code, _, stderr = run(capsys, *given)
    assert code == 1 and message in stderr and stderr.count("\n") == 1
