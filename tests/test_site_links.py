"""The build of the documentation stops at a link that leads nowhere."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mkdocs", reason="the documentation's packages are not here")
HOOK = Path(__file__).parents[1] / "docs" / "hooks" / "links.py"


@pytest.fixture(scope="module")
def hook() -> Any:
    spec = importlib.util.spec_from_file_location("links", HOOK)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def site(tmp_path):
    """A page beside another, a picture, and a page for what is not found."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text('<h2 id="a part">A</h2>', "utf-8")
    (tmp_path / "picture.png").write_bytes(b"")
    (tmp_path / "404.html").write_text('<a href="/nowhere/">', "utf-8")
    return tmp_path


def found(hook, site, page):
    (site / "index.html").write_text(page, "utf-8")
    return hook.problems(site)


def test_links_that_hold(hook, site):
    page = (
        '<a id="here" href="other/#a%20part"><a href="#here"><a href="https://arxiv.org/abs/1">'
        '<img src="picture.png"><a href="mailto:a@example.org"><img src="data:image/png;base64,">'
        '<link rel="canonical" href="https://example.org/"><a href="./other/index.html">'
    )
    assert found(hook, site, page) == []
    hook.on_post_build({"site_dir": str(site)})


@pytest.mark.parametrize(
    "link", ["others/", "other/#part", "#there", "picture.svg", "../other/nothing.html"]
)
def test_links_that_lead_nowhere(hook, site, link):
    assert found(hook, site, f'<a href="{link}">') == [f"index.html: {link}"]
    with pytest.raises(Exception, match="index.html"):
        hook.on_post_build({"site_dir": str(site)})


@pytest.mark.parametrize("tag", ["script src", "img src", "iframe src", "link href"])
def test_files_of_other_hosts(hook, site, tag):
    page = f'<{tag}="https://example.org/x.js">'
    assert found(hook, site, page) == ["index.html: loads https://example.org/x.js"]
