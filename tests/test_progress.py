import pytest

from retrieval_lens import progress


def test_quick_work_shows_nothing(capsys):
    with progress.progress_bar("quick", 3) as advance:
        advance(3)
    assert capsys.readouterr().err == ""


def test_slow_work_is_shown_and_the_bar_is_gone_after_an_exception(monkeypatch):
    started = []

    class Bar:
        def update(self, task, completed):
            started.append(completed)

        def stop(self):
            started.append("stopped")

    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    monkeypatch.setattr(progress, "_start", lambda description, total: (Bar(), 0))
    with pytest.raises(RuntimeError), progress.progress_bar("slow", 3) as advance:
        advance()
        advance(2)
        raise RuntimeError
    assert started == [1, 3, "stopped"]


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    monkeypatch.setattr(progress, "_start", lambda *args: pytest.fail("shown"))
    with progress.progress_bar("quiet", 1, enabled=False) as advance:
        advance()
