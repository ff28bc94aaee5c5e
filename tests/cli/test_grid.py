"""`grid run|status|plot`; the grids are run by a worker without a model."""

import json

import pandas as pd
import pytest

from retrieval_lens import experiments
from retrieval_lens.cli import main
from tests.experiments.fake_worker import GRID, FakeWorker, run_fake


@pytest.fixture
def asked(monkeypatch):
    """What `run_grid` was asked for; it runs the grid with a fake worker."""
    calls = []

    def run_grid(grid, out, executor, workers, **options):
        calls.append((grid, executor, workers, options))
        return run_fake(out, FakeWorker(grid), grid)

    monkeypatch.setattr(experiments, "run_grid", run_grid)
    return calls


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit:
        main(["grid", *map(str, arguments)])
    captured = capsys.readouterr()
    return exit.value.code, captured.out, captured.err


def test_options_become_a_grid(capsys, asked, tmp_path):
    code, stdout, _ = run(
        capsys,
        "run",
        *("--out", tmp_path, "--models", "fake", "--n-tokens", "100,200", "--depths", "0,0.5"),
        *("--seeds", "0-2,7", "--conditions", "none,dynamic,static,dynamic_k", "--k", "0,5"),
        *("--haystacks", "coast,essays", "--detection-seeds", "9", "--workers", "2"),
        *("--executor", "ray", "--address", "auto", "--gpus-per-worker", "0.5"),
    )
    assert code == 0
    grid, executor, workers, options = asked[0]
    assert grid == experiments.NeedleGrid(
        models="fake",
        n_tokens=(100, 200),
        depths=(0.0, 0.5),
        seeds=(0, 1, 2, 7),
        conditions=("none", "dynamic", "static", "dynamic_k"),
        k=(0, 5),
        haystacks=("coast", "essays"),
        detection_seeds=(9,),
    )
    assert (executor, workers) == ("ray", 2)
    assert options["address"] == "auto" and options["gpus_per_worker"] == 0.5
    assert "results.parquet" in stdout.replace("\n", "") and "dynamic_k" in stdout


def test_printed_means_are_those_of_the_table(capsys, asked, tmp_path):
    config = tmp_path / "grid.json"
    config.write_text(json.dumps(GRID.as_json()))
    _, stdout, _ = run(capsys, "run", "--config", config, "--out", tmp_path / "out")
    frame = pd.read_parquet(tmp_path / "out" / "results.parquet")
    part = frame[(frame.condition == "dynamic_k") & (frame.k == 2)]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in stdout.splitlines()]
    measures = ("exact", "answer_chars", "effect_retrieval", "effect_other")
    assert ["dynamic_k", "2", *(f"{part[one].mean():.3f}" for one in measures), "12"] in rows


def test_options_win_over_the_file(capsys, asked, tmp_path):
    config = tmp_path / "grid.json"
    config.write_text(json.dumps({"models": "fake", "n_tokens": [50], "seeds": [3]}))
    run(capsys, "run", "--config", config, "--seeds", "4", "--out", tmp_path / "out")
    assert asked[0][0] == experiments.NeedleGrid(models="fake", n_tokens=50, seeds=4)


def test_status_of_a_grid_that_was_stopped(capsys, tmp_path):
    def stops(cell, inputs):
        if cell.stage == "matched":
            raise KeyboardInterrupt
        return FakeWorker(GRID)(cell, inputs)

    with pytest.raises(KeyboardInterrupt):
        run_fake(tmp_path, stops)
    path = next((tmp_path / "cells").glob("own-*"))
    path.write_text("{")
    code, stdout, _ = run(capsys, "status", tmp_path)
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in stdout.splitlines()]
    assert ["own", "11", "12"] in rows and ["matched", "0", "12"] in rows
    assert f"to be run again: {path}" in stdout.replace("\n", "")
    assert "stopped; the same `grid run` goes on" in stdout
    path.unlink()
    run_fake(tmp_path)
    assert "finished" in run(capsys, "status", tmp_path)[1]


def test_plot_writes_a_page_with_maps_and_curves(capsys, tmp_path):
    run_fake(tmp_path)
    code, _, stderr = run(capsys, "plot", tmp_path, "--out", tmp_path / "page.html")
    assert (code, stderr) == (0, "")
    page = (tmp_path / "page.html").read_text("utf-8")
    for text in ("exact by length and depth", "effect_retrieval by length", "overlap against k"):
        assert text in page
    assert "fake, 12 prompts" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--out", "o", "--seeds", "a"), "--seeds wants whole numbers such as 0,1,5 or 0-4"),
        (("run", "--out", "o", "--depths", "low"), "--depths wants numbers such as 0,0.5,1"),
        (("run", "--out", "o", "--conditions", "all"), "no condition 'all'; known: dynamic"),
        (("run", "--out", "o", "--config", "/none.json"), "No such file"),
        (("run", "--out", "o", "--executor", "slurm"), "no executor 'slurm'; known: local, ray"),
        (("status", "/no/grid"), "/no/grid holds no grid"),
        (("plot", "/no/grid", "--out", "a.html"), "/no/grid holds no grid"),
        (("plot", "/no/grid", "--out", "a.bmp"), "--out ends in .html, .png, .svg, .pdf"),
        (("plot", "/no/grid", "--out", "/no/a.html"), "in a folder that does not exist"),
    ],
)
def test_errors_are_one_line(capsys, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, stderr = run(capsys, *arguments)
    assert code == 1 and message in stderr
    assert stderr.strip().count("\n") == 0 and "Traceback" not in stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("text", ["[1, 2]", "{"])
def test_a_configuration_that_is_no_json_object(capsys, tmp_path, text):
    config = tmp_path / "grid.json"
    config.write_text(text)
    code, _, stderr = run(capsys, "run", "--config", config, "--out", tmp_path / "o")
    assert code == 1 and str(config) in stderr.replace("\n", "")
