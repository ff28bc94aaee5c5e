import time

import pytest

from retrieval_lens import progress


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
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.progress_bar("counting", 2) as advance:
        time.sleep(0.5)
        advance(2)
    assert "counting" in capsys.readouterr().err
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_a_log_gets_a_line_a_minute(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0.0)
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    for name in ("FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    with progress.progress_bar("cells [of] a grid", 9) as advance:
        time.sleep(0.5)
        for seconds in (30, 31, 10, 60):
            clock[0] += seconds
            advance()
    assert capsys.readouterr().err.splitlines() == [
        "cells [of] a grid: 2 of 9 after 1 min",
        "cells [of] a grid: 4 of 9 after 2 min",
    ]
