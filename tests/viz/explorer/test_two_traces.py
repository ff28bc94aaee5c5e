"""Clean against ablated, side by side."""

from dataclasses import replace

import pytest
import torch

from tests.viz.explorer.pages import chosen, click_cell, drawn, press, saved, walk


def shorter():
    """Three steps of the same prompt: the second token is another, L2H1 looks elsewhere."""
    trace = walk()
    positions = trace.top_positions[:3].clone()
    positions[1, 2, 1, 0] = 40
    return replace(
        trace,
        tokens=torch.tensor([0, 7, 2]),
        str_tokens=("a", "x", "c"),
        scores={name: values[:3] for name, values in trace.scores.items()},
        thresholds={name: values[:3] for name, values in trace.thresholds.items()},
        chance={name: values[:3] for name, values in trace.chance.items()},
        top_positions=positions,
        top_weights=trace.top_weights[:3],
        truncated=True,
    )


@pytest.fixture
def page(open_document, tmp_path):
    opened = open_document(saved(tmp_path, walk(), shorter()))
    yield drawn(opened)
    assert not opened.errors


def test_one_cursor_for_both(page):
    names = page.locator(".rl-side h3").all_text_contents()
    assert names == ["clean", "ablated"]
    click_cell(page, 2, 1, side=1)
    assert chosen(page) == (
        "Step 1 of 5 (0 to 4) clean writes “␣b”, ablated writes “x”. Head L2H1."
    )
    assert page.locator("[aria-selected=true]").count() == 2
    columns = page.locator(".rl-column").all_text_contents()
    assert "“␣w31”" in columns[0] and "“␣w40”" in columns[1]


def test_the_prompt_shows_both(page):
    press(page, "ArrowRight")
    weights = page.evaluate(
        """[30, 31, 40].map(at => [0, 1].map(i => document.querySelector(`[data-position='${at}']`)
            .style.getPropertyValue(`--rl-weight-${i}`)))"""
    )
    assert weights == [["87%", "87%"], ["71%", ""], ["", "71%"]]
    generated = page.locator(".rl-generated p").all_text_contents()
    assert generated == ["generated, clean: a", "generated, ablated: a"]


def test_tokens_that_differ_are_marked(page):
    marked = page.eval_on_selector_all(
        ".rl-side",
        """all => all.map(one =>
            [...one.querySelectorAll('.rl-token')].map(token => token.matches('.rl-differs')))""",
    )
    assert marked == [[False, True, False, True, True], [False, True, False]]


def test_a_response_that_ended_says_so(page):
    press(page, "End")
    assert chosen(page) == "Step 4 of 5 (0 to 4) clean writes “e”."
    columns = page.locator(".rl-column").all_text_contents()
    assert "ended after 3 steps" in columns[1] and "ended" not in columns[0]
    assert "cut at its token limit" in page.locator(".rl-side").nth(1).text_content()


def test_hovering_tells_the_attention_of_each(page):
    def title(position):
        return page.locator(f".rl-text [data-position='{position}']").get_attribute("title")

    press(page, "ArrowRight")
    assert title(31) == "position 31, attention: clean 0.5, ablated not among the 3 recorded"
    press(page, "End")
    assert title(34) == "position 34, attention: clean 0.5, ablated ended"
    assert title(55) == "position 55, attention: clean not among the 3 recorded, ablated ended"
    generated = page.locator(".rl-generated p").nth(1).locator(".rl-word").first
    assert generated.get_attribute("title") == "step 0, position 60, attention: ended"
    press(page, "Home")
    unseen = "not among the 3 recorded"
    assert title(59) == "position 59, attention: clean 0.125, ablated 0.125"
    assert title(55) == f"position 55, attention: clean {unseen}, ablated {unseen}"


def test_a_prompt_token_lists_those_of_each(page):
    page.locator("[data-position='31']").click()
    lists = page.eval_on_selector_all(".rl-column", "all => all.map(one => one.textContent)")
    assert "of 1 head, in 1 cell " in lists[0] and "of 0 heads, in 0 cells" in lists[1]
