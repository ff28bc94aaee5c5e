"""`retrieval-lens ablate`."""

import json
import re
from statistics import fmean

import pytest

import retrieval_lens as rl
from retrieval_lens.cli import main


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["ablate", *arguments])
    return ended.value.code


def test_conditions_of_one_needle(tmp_path, capsys):
    ranking = rl.HeadSet([(layer, head) for layer in range(30) for head in range(9)])
    heads, out = ranking.save(tmp_path / "heads.json"), tmp_path / "runs.json"
    small = ["--n-tokens", "40", "--max-new-tokens", "6", "--k", "3", "--heads", str(heads)]
    names = ["none", "dynamic", "static", "random"]
    chosen = [part for name in names for part in ("--condition", name)]
    assert run(*small, *chosen, "--out", str(out)) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    content = json.loads(out.read_text())
    runs = {name: rl.AblatedRun.from_json(one) for name, one in content["runs"].items()}
    assert list(runs) == names
    assert runs["none"].n_masked.sum() == 0
    assert all(one == ranking.top(3) for one in runs["static"].masked)
    effects = content["step_effects"]
    assert {row["condition"] for row in effects} == set(names)
    assert all(row["kl"] == 0 for row in effects if row["condition"] == "none")
    cells = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in printed.splitlines()]
    rows = {row[0]: row[1:] for row in cells if row and row[0] in names}
    assert list(rows) == names
    for name, (masked, *_, there, change) in rows.items():
        assert masked == f"{fmean(runs[name].n_masked.tolist()):.1f}"
        single = [row for row in effects if row["condition"] == name and row["is_retrieval"]]
        assert len(single) > 1
        assert there == f"{fmean(row['n_heads'] for row in single):.1f}"
        assert change == f"{fmean(row['delta_log_prob'] for row in single):.2f}"


def test_an_unknown_condition_is_one_line(capsys):
    assert run("--condition", "all") == 1
    assert "known: none, dynamic" in capsys.readouterr().err


def test_a_folder_that_is_not_there(capsys, tmp_path):
    assert run("--out", str(tmp_path / "no" / "runs.json")) == 1
    assert "does not exist" in " ".join(capsys.readouterr().err.split())
