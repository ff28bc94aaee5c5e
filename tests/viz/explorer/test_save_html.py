import json
import os
import re
from base64 import b64decode
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from retrieval_lens.errors import InputError
from retrieval_lens.viz.explorer import assets, explore
from retrieval_lens.viz.explorer.choice import FIELDS
from retrieval_lens.viz.explorer.palette import scale
from retrieval_lens.viz.explorer.widget import Explorer
from retrieval_lens.viz.save_html import POLICY, save_html
from tests.viz.explorer.pages import walk

DOCS = Path(__file__).parents[3] / "docs"


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


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")
def test_the_page_of_the_documentation_is_what_would_be_written_now(tmp_path):
    document = (DOCS / "explorer" / "needle.html").read_text(encoding="utf-8")
    again = "make it anew: docs/how-to/explorer.md, 'The page at the top of these docs'"
    for name in ("script", "style", "host"):
        present = getattr(assets, name)() in document
        assert present, f"needle.html has an older {name}; {again}"
    state, data = parts(document)
    meta = state["_meta"]
    assert all(scale(one["low"], one["high"]) == one for one in meta["scales"]), again
    widget = Explorer(meta, data, state["score"])
    widget.selection = {name: state[name] for name in FIELDS}
    same = save_html(widget, tmp_path / "needle.html").read_text(encoding="utf-8") == document
    assert same, again
    how = (DOCS / "how-to" / "explorer.md").read_text(encoding="utf-8")
    assert meta["title"] in how and "docs/explorer/needle.html" in how
