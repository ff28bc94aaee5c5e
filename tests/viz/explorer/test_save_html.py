import json
import os
import re
from base64 import b64decode

import pandas as pd
import plotly.graph_objects as go
import pytest

from retrieval_lens import HeadSet, Trace
from retrieval_lens.errors import InputError
from retrieval_lens.viz.explorer import assets, explore
from retrieval_lens.viz.save_html import POLICY, save_html
from tests import by_path
from tests.viz.explorer.pages import walk

HOOK = by_path.ROOT / "docs" / "hooks" / "landing.py"


def parts(document: str) -> tuple[dict, bytes]:
    state = re.search(r'id="state">(.*?)</script>', document, re.DOTALL).group(1)
    data = re.search(r'id="data">(.*?)</script>', document, re.DOTALL).group(1)
    return json.loads(state), b64decode(data)


def test_a_page_holds_the_trace_and_what_is_chosen(tmp_path):
    widget = explore(walk(), title="mine")
    widget.selection = {"step": 2, "head": (2, 1)}
    path = save_html(widget, tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    document = path.read_text(encoding="utf-8")
    state, data = parts(document)
    assert data == widget._data
    assert state["_meta"] == json.loads(json.dumps(widget._meta))
    assert (state["step"], state["head"], state["sort"]) == (2, [2, 1], "variance")
    assert document.count(POLICY) == 1 and "<title>mine</title>" in document
    assert not re.search(r"(src|href)\s*=|https?://|@import|url\(", document)


def test_a_trace_is_explored(tmp_path):
    state, _ = parts(save_html(walk(), str(tmp_path / "a.html"), title="T<b>").read_text())
    assert state["_meta"]["title"] == "T<b>" and state["step"] == 0


def test_the_title_of_the_page_wins(tmp_path):
    widget = explore(walk(), title="mine")
    document = save_html(widget, tmp_path / "a.html", title="</title>").read_text()
    assert "<title>&lt;/title&gt;</title>" in document and widget._meta["title"] == "mine"


def test_figures_and_tables_are_pages_too(tmp_path):
    document = save_html(go.Figure(), tmp_path / "a.html", title="Bars").read_text()
    assert "<h1>Bars</h1>" in document and "Plotly" in document
    document = save_html(pd.DataFrame({"head": [7]}), tmp_path / "b.html").read_text()
    assert "<td>7</td>" in document
    with pytest.raises(InputError, match="title=5; wanted text"):
        save_html(pd.DataFrame(), tmp_path / "c.html", title=5)
    with pytest.raises(InputError, match="a figure of type int"):
        save_html(3, tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = save_html(pd.DataFrame({"head": [1]}), tmp_path / "a.html")
    before = path.read_bytes()

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_html(walk(), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    assert save_html(walk(), path).read_bytes() != before


@pytest.mark.skipif(not HOOK.is_file(), reason="the documentation is not here")
def test_the_landing_page_is_made_of_its_trace_with_the_scripts_of_today():
    pytest.importorskip("mkdocs", reason="the documentation's packages are not here")
    landing = by_path.load("docs/hooks/landing.py")
    document = landing.document()
    for name in ("script", "style", "host"):
        assert getattr(assets, name)() in document
    state, data = parts(document)
    trace = Trace.load(HOOK.with_name("needle.safetensors"))
    static = HeadSet.load(HOOK.with_name("needle_static.json"))
    # as docs/how-to/explorer.md tells
    assert trace.provenance["example"]["id"] == "needle-magic_word-mixed-200-0.5-0"
    assert trace.n_steps == 40 and len(static) == 10
    named = {f"needle-magic_word-mixed-100-{at}-{seed}" for at in (0.2, 0.8) for seed in (100, 101)}
    assert set(static.example_ids) == named
    widget = explore(trace, static=static)
    assert data == widget._data and state["step"] == 9
    assert state["_meta"]["title"] == landing.TITLE
