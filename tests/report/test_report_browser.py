"""Reports in a real browser: figures drawn, nothing asked for, nothing run, everything in reach."""

import pytest

from tests.report.folders import HOSTILE

LOCAL = ("file:", "data:", "about:", "blob:")


def drawn(opened):
    """Wait until every chart has its title."""
    n_charts = opened.page.locator("figure.chart").count()
    opened.page.wait_for_function(
        f"document.querySelectorAll('figure.chart .gtitle').length >= {n_charts}", timeout=15_000
    )
    return n_charts


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("needles", 1280, "light"),
        ("questions", 400, "dark"),
        ("answers", 1280, "dark"),
        ("corpus", 400, "light"),
    ],
)
def test_it_reads_offline_and_fits(open_document, documents, name, width, scheme):
    opened = open_document(documents[name], width, scheme)
    assert drawn(opened) >= 3
    opened.page.wait_for_load_state("networkidle")
    assert not opened.errors
    assert all(url.startswith(LOCAL) for url in opened.requests), opened.requests
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    assert opened.page.locator("figure.table").count() >= 4


def test_a_hostile_question_is_seen_as_text(open_document, documents):
    opened = open_document(documents["questions"])
    drawn(opened)
    cells = opened.page.locator('[aria-label="The questions"] td').all_text_contents()
    assert HOSTILE in cells
    assert opened.page.evaluate("typeof window.hacked") == "undefined"


def test_the_commands_can_be_copied_as_they_are(open_document, documents):
    opened = open_document(documents["needles"])
    code = opened.page.locator('[aria-label="Make it again"] pre').inner_text()
    assert code.startswith("cat > grid.json <<'END'\n{\n") and "retrieval-lens grid run" in code
