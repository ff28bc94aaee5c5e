import sys
import time

import pytest
from rich.console import Console

from retrieval_lens import progress
from retrieval_lens.models.stages import stage


class Bar:
    def __init__(self):
        self.seen = []

    def add_task(self, description, total):
        self.seen.append((description, total))
        return 0

    def update(self, task, completed):
        self.seen.append(completed)

    def stop(self):
        self.seen.append("stopped")


@pytest.fixture
def bar(monkeypatch):
    fake = Bar()
    monkeypatch.setattr(progress, "_open_bar", lambda: fake)
    return fake


def test_quick_work_shows_nothing(bar):
    with progress.progress_bar("quick", 3) as advance:
        advance(3)
    assert bar.seen == []


def test_slow_work_is_shown_even_before_its_first_piece_is_done(bar, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0.01)
    with pytest.raises(RuntimeError), progress.progress_bar("slow", 3) as advance:
        time.sleep(0.5)
        assert bar.seen == [("slow", 3), 0]
        advance()
        advance(2)
        raise RuntimeError
    assert bar.seen == [("slow", 3), 0, 1, 3, "stopped"]


def test_it_can_be_switched_off(bar, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0.0)
    with progress.progress_bar("quiet", 1, enabled=False) as advance:
        time.sleep(0.1)
        advance()
    assert bar.seen == []


def test_the_real_bar_writes_to_stderr_and_leaves_nothing_running(capsys, monkeypatch):
    import threading

    monkeypatch.setattr(progress, "DELAY_SECONDS", 0.0)
    before = threading.active_count()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.progress_bar("counting", 2) as advance:
        time.sleep(0.5)
        advance(2)
    assert "counting" in capsys.readouterr().err
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_a_log_gets_at_most_a_line_a_minute(capsys):
    clock = [1000.0]
    lines = progress._Lines(Console(stderr=True), lambda: clock[0])
    task = lines.add_task("cells [of] a grid", 9)
    for done, seconds in enumerate((30, 31, 10, 60), 1):
        clock[0] += seconds
        lines.update(task, done)
    lines.stop()
    assert capsys.readouterr().err.splitlines() == [
        "cells [of] a grid: 2 of 9 after 1 min",
        "cells [of] a grid: 4 of 9 after 2 min",
    ]


@pytest.mark.parametrize("forced", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_a_file_is_a_log_whatever_the_environment_says(tmp_path, monkeypatch, forced):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in forced.items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        assert isinstance(progress._open_bar(), progress._Lines)


def test_a_spinner_is_a_line_in_a_log(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        with stage("converting"):
            pass
    assert (tmp_path / "log").read_text() == "converting\n"
