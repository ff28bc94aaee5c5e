from html.parser import HTMLParser

import pandas as pd
import pytest

from retrieval_lens.errors import InputError
from retrieval_lens.viz import attention, head_map, page, timeline
from retrieval_lens.viz.demo import demo_trace

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Outline(HTMLParser):
    """Headings, attributes and the balance of tags."""

    def __init__(self, document: str):
        super().__init__()
        self.open: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.wrong: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append((self.open[-1], data))
        elif not self.open or self.open[-1] not in ("script", "style"):
            self.texts.append(data)


@pytest.fixture(scope="module")
def document() -> str:
    trace = demo_trace()
    parts = [
        ("Time & <b>", "One.\n\nTwo <script>.", timeline(trace)),
        ("Map", None, head_map(trace)),
        ("Text", None, attention(trace, 1)),
        ("More text", None, attention(trace, 2)),
        ("Numbers", "", pd.DataFrame({"<i>": ["<u>"], "x": [1 / 3]})),
    ]
    return page("Heads & <tails>", parts, subtitle="of <one> model")


@pytest.fixture(scope="module")
def outline(document) -> Outline:
    return Outline(document)


def test_the_document_is_whole_and_balanced(document, outline):
    assert document.startswith('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">')
    assert not outline.open and not outline.wrong
    assert ("meta", "name", "viewport") in outline.attributes
    ids = [value for _, name, value in outline.attributes if name == "id"]
    assert len(ids) == len(set(ids)) >= 9


def test_headings_come_in_order_and_as_text(outline):
    levels = [level for level, _ in outline.headings]
    assert levels == ["h1", "h2", "h2", "h2", "h2", "h2"]
    assert outline.headings[0] == ("h1", "Heads & <tails>")
    assert outline.headings[1] == ("h2", "Time & <b>")


def test_text_and_subtitle_are_text_and_blank_lines_part_paragraphs(outline):
    for text in ("of <one> model", "One.", "Two <script>.", "Heads & <tails>"):
        assert text in outline.texts


def test_each_library_is_in_it_once(document):
    assert document.count("var CircuitsVis=") == 1
    assert document.count("* plotly.js v") == 1
    assert document.count("CircuitsVis.render(") == 2


def test_libraries_that_no_figure_needs_stay_out():
    document = page("t", [("a", None, pd.DataFrame({"x": [1]}))])
    assert "plotly" not in document and "CircuitsVis" not in document
    assert len(document) < 10_000


def test_nothing_points_outside(outline):
    assert not [a for a in outline.attributes if a[1] in ("src", "href", "srcset", "action")]
    policy = next(value for _, name, value in outline.attributes if name == "content")
    assert policy.startswith("default-src 'none'") and "http" not in policy


def test_tables_are_escaped_and_rounded(outline, document):
    assert "<i>" in outline.texts and "<u>" in outline.texts and "0.3333" in outline.texts
    assert "<u>" not in document


def test_half_characters_do_not_keep_the_page_from_being_written():
    document = page("half \ud83d", [("x", "\udc00", pd.DataFrame({"t": ["\ud83d"]}, dtype=object))])
    assert document.encode("utf-8").decode("utf-8").count("\ufffd") == 4


def test_a_page_may_hold_no_part():
    assert "<h1>empty</h1>" in page("empty", [])


def test_a_figure_of_another_kind_is_refused():
    with pytest.raises(InputError, match="part 2 .'b'. has a figure of type int"):
        page("t", [("a", None, pd.DataFrame()), ("b", None, 3)])
