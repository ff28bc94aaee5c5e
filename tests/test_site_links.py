"""The build of the documentation stops at a link that leads nowhere."""

import pytest

from tests import by_path

PluginError = pytest.importorskip("mkdocs.exceptions", reason="mkdocs is not here").PluginError


@pytest.fixture(scope="module")
def hook():
    return by_path.load("docs/hooks/links.py")


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
        '<a id="here" href="other/#a%20part"><a href=" #here "><a href="https://arxiv.org/abs/1">'
        '<img src="picture.png"><a href="mailto:a@example.org"><img src="data:image/png;base64,">'
        '<link rel="canonical" href="https://example.org/"><a href="./other/index.html">'
        '<a href="#top"><a href=""><img srcset="picture.png 1x, picture.png 2x">'
        '<a href="other/?q=1"><link rel="license" href="https://example.org/">'
    )
    assert found(hook, site, page) == []
    hook.on_post_build({"site_dir": str(site)})


@pytest.mark.parametrize(
    "link",
    ["others/", "other/#part", "#there", "picture.svg", "../other/", "/other/", "http://[bad"],
)
def test_links_that_lead_nowhere(hook, site, link):
    assert found(hook, site, f'<meta name="there"><a href="{link}">') == [
        f"index.html: {link} leads nowhere"
    ]
    with pytest.raises(PluginError, match="index.html"):
        hook.on_post_build({"site_dir": str(site)})


def test_a_file_of_this_machine_is_no_page_of_the_site(hook, site):
    link = (site / "picture.png").as_posix()
    assert found(hook, site, f'<img src="{link}">') == [f"index.html: {link} leads nowhere"]


def test_a_page_in_a_folder(hook, site):
    (site / "other" / "index.html").write_text('<a href="../picture.png"><a href="../x">', "utf-8")
    assert hook.problems(site) == ["other/index.html: ../x leads nowhere"]


@pytest.mark.parametrize(
    "tag",
    [
        "script src",
        "img src",
        "img srcset",
        "iframe src",
        "object data",
        "video poster",
        'link rel="preload stylesheet" href',
    ],
)
def test_files_of_other_hosts(hook, site, tag):
    page = f'<{tag}="https://example.org/x.js">'
    wanted = "index.html: https://example.org/x.js is of another host"
    assert found(hook, site, page) == [wanted]
    (site / "404.html").write_text(page, "utf-8")
    assert len(hook.problems(site)) == 2
