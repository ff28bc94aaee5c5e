"""Both ways between a notebook and its explorer, in a real JupyterLab."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.viz.explorer.pages import chosen, settle

CELLS = (
    "from retrieval_lens.viz.explorer import explore\n"
    "from tests.viz.explorer.pages import numpy_trace\n"
    "widget = explore(numpy_trace())\n"
    "widget",
    "widget.selection = {'step': 2, 'head': (1, 0)}",
    "print('read', widget.step, widget.head, widget.position)",
)
ROOT = Path(__file__).parents[3]


def notebook() -> dict:
    cells = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for i, source in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def command(port: int, folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
        *(f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"),
        *("--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.news_url=None"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


@pytest.fixture
def lab(tmp_path):
    pytest.importorskip("jupyterlab", reason="the notebooks extra is not installed")
    work = tmp_path / "work"
    work.mkdir()
    (work / "t.ipynb").write_text(json.dumps(notebook()))
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "s")}
    own |= {"JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "w"), "PYTHONPATH": str(ROOT)}
    url, server = start(work, os.environ | own, tmp_path / "log")
    yield url
    stop(server)


def start(work: Path, env: dict[str, str], log: Path) -> tuple[str, subprocess.Popen]:
    """A server that answers. Its port may be taken before it starts: then another, once."""
    for _ in range(2):
        port = free_port()
        with open(log, "wb") as out:
            server = subprocess.Popen(
                command(port, work), env=env, stdout=out, stderr=out, cwd=work
            )
        if answers(f"http://127.0.0.1:{port}/api", server):
            return f"http://127.0.0.1:{port}", server
        ended = server.poll() is not None
        stop(server)
        if not ended:
            break
    raise AssertionError(f"no answer from JupyterLab:\n{log.read_text()}")


def stop(server: subprocess.Popen) -> None:
    server.terminate()
    server.wait(20)


def answers(url: str, server: subprocess.Popen) -> bool:
    """Wait for an answer; no, where the server ends or a minute is over."""
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def test_a_port_that_was_taken_meanwhile_is_not_the_end(tmp_path, monkeypatch):
    (tmp_path / "api").touch()
    serve = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1")
    monkeypatch.setattr(f"{__name__}.command", lambda port, _: [*serve, str(port)])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = [taken.getsockname()[1], free_port()]
        given = iter(ports)
        monkeypatch.setattr(f"{__name__}.free_port", lambda: next(given))
        url, server = start(tmp_path, dict(os.environ), tmp_path / "log")
    stop(server)
    assert url.endswith(f":{ports[1]}")


def run_cell(page, number: int) -> None:
    """Run a cell; JupyterLab drops the keys while it is still putting the notebook together."""
    cell = page.locator(".jp-CodeCell").nth(number)
    started = "one => !one.querySelector('.jp-InputPrompt').textContent.includes('[ ]')"
    for _ in range(20):
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        for _ in range(10):
            if cell.evaluate(started):
                return
            page.wait_for_timeout(100)
    raise AssertionError(f"cell {number} did not start")


@pytest.mark.timeout(150)
def test_notebook_and_explorer_follow_each_other(lab, browser):
    context = browser.new_context(viewport={"width": 1300, "height": 1600})
    page = context.new_page()
    page.set_default_timeout(60_000)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{lab}/lab/tree/t.ipynb?reset")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    run_cell(page, 0)
    page.wait_for_selector(".rl-explorer[data-drawn]")
    run_cell(page, 1)
    page.wait_for_selector("[aria-label^='step 2:'][aria-selected=true]")
    assert chosen(page).startswith("Step 2 of 4") and "Head L1H0." in chosen(page)
    # what is done in the browser is known in Python
    page.locator(".rl-token").nth(3).click()
    page.locator("[data-position='12']").first.click()
    page.locator(".rl-explorer").press("ArrowLeft")
    page.wait_for_selector("[aria-label^='step 2:'][aria-selected=true]")
    run_cell(page, 2)
    page.wait_for_selector(".jp-OutputArea-output:has-text('read 2 (1, 0) 12')")
    # the keys of the explorer are not those of the notebook
    current = (
        "[...document.querySelectorAll('.jp-Cell')].findIndex(c => c.matches('.jp-mod-active'))"
    )
    page.keyboard.press("Escape")
    page.locator(".rl-token").nth(2).click()
    before = page.evaluate(current), chosen(page)
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
        settle(page)
        assert page.evaluate("document.activeElement.classList.contains('rl-explorer')")
    assert page.evaluate(current) == before[0] == 0 and chosen(page) != before[1]
    ours = lab.removeprefix("http://")
    outside = [url for url in asked if ours not in url and not url.startswith(("data:", "blob:"))]
    assert not outside
    context.close()
