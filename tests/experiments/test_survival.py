"""Whatever happens to a grid, the next run ends with the same table as an undisturbed one."""

import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch

from retrieval_lens import files
from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.experiments import GridError, grid_status, load_results
from retrieval_lens.experiments.cells import grid_cells
from retrieval_lens.experiments.executors import LocalExecutor, ProcessExecutor
from retrieval_lens.experiments.memory import with_enough_memory
from retrieval_lens.experiments.runner import run_with
from tests.experiments.fake_worker import GRID, FakeWorker, run_fake

CELLS = [cell for stage in GRID.stages for cell in grid_cells(GRID)[stage]]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    run_fake(out)
    return out


def table(out: Path) -> bytes:
    return (out / "results.parquet").read_bytes()


def start(out: Path, seconds: float) -> subprocess.Popen:
    """The fake grid in a process of its own, which has begun."""
    command = [sys.executable, "-m", "tests.experiments.fake_worker", str(out), str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    return process


@pytest.mark.slow
def test_killed_at_ten_random_moments_and_resumed(tmp_path, undisturbed):
    random, done = Random(0), []
    for _ in range(10):
        process = start(tmp_path, seconds=0.05)
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.communicate()
        done.append(len(list((tmp_path / "cells").glob("*.json"))))
    assert done[-1] > done[4] > 0 and done[-1] < len(CELLS), done
    assert not (tmp_path / "results.parquet").exists()
    process = start(tmp_path, seconds=0)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert table(tmp_path) == table(undisturbed)
    assert {p.name: p.read_bytes() for p in (tmp_path / "cells").iterdir()} == {
        p.name: p.read_bytes() for p in (undisturbed / "cells").iterdir()
    }


def test_a_resumed_run_runs_no_finished_cell(tmp_path, undisturbed):
    run_fake(tmp_path)

    def refuse(cell, inputs):
        raise AssertionError(cell.key)

    run_fake(tmp_path, refuse)
    assert table(tmp_path) == table(undisturbed)


def test_what_a_kill_leaves_half_written_is_swept_away(tmp_path):
    run_fake(tmp_path)
    left = tmp_path / "cells" / ".own.json.0123.part"
    left.write_bytes(b'{"format"')
    run_fake(tmp_path)
    assert not left.exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def alter(path: Path) -> None:
    text = path.read_text()
    assert '"outcome":"partial"' in text or '"sums":[' in text
    text = text.replace('"outcome":"partial"', '"outcome":"exact"')
    path.write_text(text.replace('"sums":[', '"sums":[9'))


def swap(path: Path) -> None:
    """The sound file of another cell under this name."""
    other = next(p for p in sorted(path.parent.iterdir()) if p != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("spoil", [cut, empty, alter, swap])
@pytest.mark.parametrize("stage", GRID.stages)
def test_a_spoilt_cell_is_noticed_said_moved_aside_and_run_again(
    tmp_path, undisturbed, capsys, spoil, stage
):
    run_fake(tmp_path)
    cell = grid_cells(GRID)[stage][1]
    path = tmp_path / "cells" / f"{cell.key}.json"
    spoil(path)
    with pytest.raises(FileFormatError, match=r"damaged|altered|another cell"):
        load_results(tmp_path)
    status = grid_status(tmp_path)
    assert len(status.damaged) == 1 and cell.key in status.damaged[0] and not status.finished
    ran = []

    def worker(one, inputs):
        ran.append(one)
        return FakeWorker(GRID)(one, inputs)

    run_with(lambda model: LocalExecutor(lambda: worker), GRID, tmp_path)
    assert ran == [cell]
    assert f"{cell.key}.json" in capsys.readouterr().err
    assert path.with_name(path.name + ".damaged").exists()
    assert table(tmp_path) == table(undisturbed)


def test_a_cell_that_is_spoilt_twice_leaves_both_files(tmp_path):
    run_fake(tmp_path)
    path = tmp_path / "cells" / f"{grid_cells(GRID)['own'][0].key}.json"
    for text in ("first", "second"):
        path.write_text(text)
        run_fake(tmp_path)
    kept = [path.with_name(path.name + end).read_text() for end in (".damaged", ".damaged1")]
    assert kept == ["first", "second"]


def test_cells_made_from_other_static_heads_are_run_again(tmp_path):
    class Other(FakeWorker):
        def __call__(self, cell, inputs):
            result = super().__call__(cell, inputs)
            if "sums" in result:
                result["sums"][7] += 100.0
            return result

    run_fake(tmp_path)
    (tmp_path / "cells" / f"{CELLS[0].key}.json").unlink()
    frame = run_fake(tmp_path, Other(GRID))
    new = tmp_path / "new"
    assert frame.equals(run_fake(new, Other(GRID)))


def test_another_configuration_in_the_folder_is_refused(tmp_path):
    run_fake(tmp_path)
    changed = type(GRID).from_json(GRID.as_json() | {"static_k": 6, "mode": "uniform"})
    with pytest.raises(InputError, match=r"mode: 'zero' there, 'uniform' now; static_k: 5 there"):
        run_fake(tmp_path, grid=changed)


def test_a_haystack_that_has_changed_is_refused(tmp_path):
    prose = tmp_path / "prose.txt"
    prose.write_text("One sentence. Another.")
    grid = type(GRID).from_json(GRID.as_json() | {"haystacks": [str(prose)]})
    run_fake(tmp_path / "out", FakeWorker(grid), grid)
    prose.write_text("One sentence. Another!")
    with pytest.raises(InputError, match=r"prose.txt: '.*' there, '.*' now"):
        run_fake(tmp_path / "out", FakeWorker(grid), grid)


def test_other_versions_are_refused_unless_asked_for(tmp_path, monkeypatch, undisturbed):
    run_fake(tmp_path)
    from retrieval_lens.folders import version as real

    monkeypatch.setattr("retrieval_lens.folders.version", lambda name: real(name) + "x")
    with pytest.raises(InputError, match=r"allow_other_versions=True"):
        run_fake(tmp_path)
    run_fake(tmp_path, allow_other_versions=True)
    run_fake(tmp_path)
    assert table(tmp_path) == table(undisturbed)


def test_a_folder_with_files_of_others_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="has files in it but no manifest.json"):
        run_fake(tmp_path)


def test_two_processes_at_once_are_refused(tmp_path):
    process = start(tmp_path, seconds=0.3)
    try:
        while not (tmp_path / "manifest.json").exists():
            time.sleep(0.02)
        assert grid_status(tmp_path).running
        with pytest.raises(InputError, match="another process is at work"):
            run_fake(tmp_path)
    finally:
        process.kill()
        process.communicate()
    assert not grid_status(tmp_path).running
    run_fake(tmp_path)


class Stops(FakeWorker):
    """Raises at one cell."""

    def __init__(self, error, at: int = 7):
        super().__init__(GRID)
        self.error, self.at = error, CELLS[at]

    def __call__(self, cell, inputs):
        if cell == self.at:
            raise self.error
        return super().__call__(cell, inputs)


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (ZeroDivisionError("by zero"), GridError, f"{CELLS[7].key} failed: ZeroDivisionError: by"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_an_error_or_ctrl_c_leaves_the_finished_cells(
    tmp_path, undisturbed, error, raised, message
):
    with pytest.raises(raised, match=message):
        run_fake(tmp_path, Stops(error))
    assert len(list((tmp_path / "cells").iterdir())) == 7
    assert not grid_status(tmp_path).running, "the lock is free again"
    with pytest.raises(InputError, match="not finished: 3 of 12 cells of stage 'own'"):
        load_results(tmp_path)
    assert set(load_results(tmp_path, partial=True).condition) == {
        "none",
        "dynamic",
        "dynamic_k",
        "static_by_count",
    }
    run_fake(tmp_path)
    assert table(tmp_path) == table(undisturbed)


def test_a_full_disk_stops_the_grid_and_spoils_nothing(tmp_path, undisturbed, monkeypatch):
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run_fake(tmp_path)
    monkeypatch.undo()
    assert len(list((tmp_path / "cells").iterdir())) == 4, "manifest and four cells were written"
    run_fake(tmp_path)
    assert table(tmp_path) == table(undisturbed)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: not enough")]
)
def test_out_of_memory_halves_the_batch_down_to_one(error):
    tried = []

    def run(n_rows):
        tried.append(n_rows)
        if n_rows > 2:
            raise error
        return "done"

    assert with_enough_memory(run, 11) == ("done", 2)
    assert tried == [11, 5, 2]

    def never(n_rows):
        raise error

    with pytest.raises(type(error)):
        with_enough_memory(never, 4)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    tried = []

    def run(n_rows):
        tried.append(n_rows)
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        with_enough_memory(run, 8)
    assert tried == [8]


class Dies(FakeWorker):
    """Its process dies at one cell, `times` times; a file counts them."""

    def __init__(self, counter: Path, times: int):
        super().__init__(GRID)
        self.counter, self.times = counter, times

    def __call__(self, cell, inputs):
        if cell == CELLS[6]:
            n = len(self.counter.read_text()) if self.counter.exists() else 0
            self.counter.write_text("x" * (n + 1))
            if n < self.times:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(cell, inputs)


def in_processes(make_worker, out: Path, n_workers: int = 2):
    return run_with(
        lambda model: ProcessExecutor(make_worker, n_workers), GRID, out, progress=False
    )


@pytest.mark.slow
def test_a_worker_process_that_dies_loses_nothing(tmp_path, undisturbed):
    in_processes(partial(Dies, tmp_path / "count", 2), tmp_path / "out")
    assert (tmp_path / "count").read_text() == "xxx"
    assert table(tmp_path / "out") == table(undisturbed)


@pytest.mark.slow
def test_a_cell_that_kills_every_worker_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval_lens.experiments.executors.processes.MOST_DEATHS", 2)
    with pytest.raises(GridError, match=rf"{CELLS[6].key}: 2 workers died .* exit code -9"):
        in_processes(partial(Dies, tmp_path / "count", 99), tmp_path / "out", n_workers=1)
    assert (tmp_path / "count").read_text() == "xx"


@pytest.mark.slow
def test_an_error_in_a_worker_process_comes_back_with_its_traceback(tmp_path):
    with pytest.raises(GridError, match=f"{CELLS[7].key} failed: ZeroDivisionError: by") as raised:
        in_processes(partial(Stops, ZeroDivisionError("by zero")), tmp_path)
    assert "Traceback" in raised.value.__notes__[0]


class NoModel(FakeWorker):
    def __init__(self):
        raise InputError("no such model")


def test_a_worker_process_that_cannot_start_says_why(tmp_path):
    with pytest.raises(GridError, match="could not start: InputError: no such model"):
        in_processes(NoModel, tmp_path, n_workers=1)


class Threads(FakeWorker):
    def __call__(self, cell, inputs):
        assert torch.get_num_threads() == 1 and os.environ["OMP_NUM_THREADS"] == "1"
        return super().__call__(cell, inputs)


@pytest.mark.slow
def test_worker_processes_have_one_thread_and_leave_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    in_processes(partial(Threads, GRID), tmp_path, n_workers=1)
    assert "OMP_NUM_THREADS" not in os.environ
