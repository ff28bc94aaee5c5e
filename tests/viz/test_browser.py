"""Tokens that try to be HTML, seen through the eyes of a browser."""

import pandas as pd
import pytest
import torch

from retrieval_lens.viz import attention, head_map, page, timeline
from retrieval_lens.viz.labels import clip, visible
from retrieval_lens.viz.page import POLICY
from tests.viz.fake_trace import fake_trace, uuid_trace

HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<b>bold</b>",
    "<a href='https://example.invalid'>link</a>",
    "&amp;",
    "&lt;",
    "<|im_start|>",
    "<s>",
    "<br>",
    "$x$",
    "%{y}",
    "\u202eabc",
    "\u200f",
    "\ud83d",
    "\ufffd",
    "\n",
    "\t",
    " word",
    "'s",
    '"',
    "שלום",
    "👩\u200d🚀",
)
LOCAL = ("file:", "data:", "about:", "blob:")


def hostile_document() -> str:
    n = len(HOSTILE)
    scores = {"copy_paste": torch.eye(n)[:, None, :4].clone()}
    tops = {(step, 0, head): [(step, 0.5)] for step in range(n) for head in range(4)}
    trace = fake_trace(HOSTILE, HOSTILE, scores, tuple(range(n)), tops)
    title = "<b>title</b> </script><script>window.hacked=1</script>"
    parts = [
        (title, title, timeline(trace, title=title)),
        ("map", None, head_map(trace, title=title, colour_bar="<b>bar</b>")),
        ("look", None, attention(trace, n - 1)),
        ("after", None, attention(trace, 0)),
        ("table", None, pd.DataFrame({title: list(HOSTILE)}, dtype=object)),
    ]
    return page(title, parts, subtitle=title)


def ready(opened):
    """Wait until every figure is drawn."""
    opened.page.wait_for_selector("#figure-1 .xtick text", state="attached")
    opened.page.wait_for_function("document.querySelectorAll('.colored-tokens').length == 2")
    return opened


@pytest.fixture(scope="module")
def hostile(open_document):
    return ready(open_document(hostile_document()))


def test_no_token_runs_and_nothing_fails(hostile):
    assert hostile.page.evaluate("typeof window.hacked") == "undefined"
    assert not hostile.errors
    assert hostile.page.locator("main img, main a[href*=example]").count() == 0


def test_axis_labels_show_the_tokens_as_text(hostile):
    shown = hostile.page.locator("#figure-1 .xtick text").all_text_contents()
    assert shown == [clip(visible(token), 12) for token in HOSTILE]


@pytest.mark.parametrize("step", [0, 2, 3, 4, 5, 9, 10, 11, 13, 15])
def test_hover_shows_the_tokens_as_text(hostile, step):
    hostile.page.evaluate(f"Plotly.Fx.hover('figure-1', {{xval: {step}, yval: 0}})")
    hostile.page.wait_for_function(
        f"document.querySelector('#figure-1 .hovertext')?.textContent.includes('step {step}g')"
    )
    rows = hostile.page.locator("#figure-1 .hovertext tspan.line").all_text_contents()
    assert rows[1] == f"generates {visible(HOSTILE[step])}"
    assert rows[3].startswith(f"looks at {visible(HOSTILE[step])} (position {step}, evidence)")


def test_titles_show_as_text(hostile):
    for number in (1, 2):
        title = hostile.page.locator(f"#figure-{number} .gtitle").text_content()
        assert title.replace(" ", "").startswith("<b>title</b></script><script>"), title
    assert hostile.page.locator("h1").text_content().startswith("<b>title</b> </script>")
    assert hostile.page.locator("#figure-2 .cbtitle").text_content() == "<b>bar</b>"


def test_attention_shows_the_tokens_as_text(hostile):
    spans = hostile.page.locator(".colored-tokens").first.locator("span > span")
    shown = [text.replace("\xa0", " ") for text in spans.all_text_contents()]
    expected = [visible(token, spaces=False) + " " * token.count("\n") for token in HOSTILE]
    assert shown == ["[0] ", *expected, *expected[:-1]]


def test_an_element_leaves_what_follows_it_on_the_page(hostile):
    assert hostile.page.locator("section").count() == 5
    assert hostile.page.locator("figure.tokens").count() == 2
    assert hostile.page.locator("figure.tokens figure, figure.tokens section").count() == 0


def test_table_cells_show_as_text(hostile):
    cells = hostile.page.locator("td").all_text_contents()
    assert cells[0] == HOSTILE[0] and cells[4:6] == ["&amp;", "&lt;"]


def test_nothing_is_asked_for_even_where_it_would_be_allowed(open_document):
    document = hostile_document()
    assert document.count(POLICY) == 1
    opened = ready(
        open_document(
            document.replace(POLICY, "default-src * 'unsafe-inline' 'unsafe-eval' data: blob:")
        )
    )
    opened.page.wait_for_load_state("networkidle")
    assert opened.requests and all(url.startswith(LOCAL) for url in opened.requests)
    assert opened.page.locator(".modebar-btn[data-title^='Download']").count() == 2
    assert opened.page.locator(".modebar-btn[data-title^='Share']").count() == 0


def test_the_page_forbids_requests(hostile):
    failed = hostile.page.evaluate("fetch('data:text/plain,x').then(() => '', error => error.name)")
    assert failed == "TypeError"
    hostile.errors.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_and_figures_keep_a_white_ground(open_document, width, scheme):
    trace = uuid_trace(n_prompt=300)
    parts = [
        ("time", "x", timeline(trace)),
        ("map", None, head_map(trace)),
        ("a", None, attention(trace, 9)),
        ("b", None, attention(trace, 10)),
        ("table", None, pd.DataFrame({"wide" * 20: [1], "wider" * 20: [2]})),
    ]
    shown = ready(open_document(page("Heads", parts), width, scheme)).page
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(246, 247, 249)", "dark": "rgb(18, 22, 28)"}[scheme]
    figures = shown.locator("figure.chart, figure.tokens")
    colours = figures.evaluate_all("all => all.map(one => getComputedStyle(one).backgroundColor)")
    assert colours == ["rgb(255, 255, 255)"] * 4
    text = shown.evaluate("getComputedStyle(document.querySelector('section > p')).color")
    assert (text == "rgb(26, 34, 48)") == (scheme == "light")


def test_forty_labels_stand_apart(open_document):
    document = page("t", [("time", None, timeline(uuid_trace(n_prompt=300)))])
    shown = open_document(document, 400).page
    shown.wait_for_selector("#figure-1 .xtick text", state="attached")
    boxes = shown.eval_on_selector_all(
        "#figure-1 .xtick text",
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right])",
    )
    assert len(boxes) == 40
    assert all(right <= left + 1 for (_, right), (left, _) in zip(boxes, boxes[1:], strict=False))
