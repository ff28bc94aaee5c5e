"""The explorer as a reader uses it, in a browser, from a saved page."""

import pandas as pd
import pytest
import torch

from retrieval_lens.viz.explorer import explore
from retrieval_lens.viz.labels import visible
from retrieval_lens.viz.save_html import POLICY, save_html
from tests.viz.explorer.pages import (
    chosen,
    click_cell,
    column,
    drawn,
    head_of_row,
    press,
    saved,
    settle,
    walk,
)
from tests.viz.fake_trace import fake_trace, uuid_trace
from tests.viz.test_browser import HOSTILE


@pytest.fixture
def shown(open_document, tmp_path):
    """A function that opens an explorer of a trace; nothing may go wrong on the way."""
    opened = []

    def show(trace, *args, width=1280, scheme="light", **options):
        opened.append(open_document(saved(tmp_path, trace, *args, **options), width, scheme))
        return drawn(opened[-1])

    yield show
    for one in opened:
        assert not one.errors
        one.page.context.close()


def words(page) -> list[str]:
    return page.locator(".rl-text .rl-word").all_text_contents()


def weight(page, position: int, name: str = "--rl-weight-0") -> str:
    word = page.locator(f".rl-text [data-position='{position}']")
    return word.evaluate("(one, name) => one.style.getPropertyValue(name)", name)


def rows(page, selector: str) -> list[list[str]]:
    return page.eval_on_selector_all(
        f"{selector} tbody tr", "all => all.map(one => [...one.cells].map(c => c.textContent))"
    )


def colour(page, row: int, step: int, side: int = 0, at: tuple[int, int] = (4, 3)) -> list[int]:
    """The colour of a cell near its corner, where no sign is drawn but a ring at (1, 4)."""
    place = (88 + step * column(page) + at[0], row * 16 + at[1])
    canvas = page.locator(".rl-canvas").nth(side)
    return canvas.evaluate(
        "(one, [x, y]) => [...one.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)",
        place,
    )


def test_a_step_shows_where_its_active_heads_look(shown):
    page = shown(walk())
    # L2H1 and L1H0 are active at step 1: weights .5 on 31, .25 on 3, .75 on 30, .125 on 60
    page.locator(".rl-token").nth(1).click()
    settle(page)
    assert chosen(page) == "Step 1 of 5 (0 to 4) writes “␣b”."
    assert [weight(page, p) for p in (30, 31, 3, 32)] == ["87%", "71%", "50%", ""]
    generated = page.locator(".rl-generated .rl-word")
    assert generated.all_text_contents() == ["a"]
    assert generated.evaluate("one => one.style.getPropertyValue('--rl-weight-0')") == "35%"
    assert "2 of 6 heads are active (copy_paste, active above 0.5, chance 0.05)" in (
        page.locator(".rl-column").text_content()
    )
    assert page.locator(".rl-chips .rl-link").all_text_contents() == ["L1H0 1", "L2H1 1"]
    counts = page.locator(".rl-count").all_text_contents()
    assert counts == ["2", "2", "1", "1", "1"]


def test_of_several_heads_the_largest_weight_counts(shown):
    trace = walk()
    trace.top_positions[1, 2, 1, 1] = 30
    page = shown(trace, selection={"step": 1})
    assert weight(page, 30) == "87%", "of .25 and .75, not their sum"


def test_a_cell_shows_one_head(shown):
    trace = walk()
    trace.tokens[1] = 31
    page = shown(trace, static=[(2, 1), (0, 0)])
    assert head_of_row(page, 0) == "L1H0", "variances: .24, .16 (twice), 0"
    click_cell(page, 2, 1)
    assert chosen(page).endswith("Head L2H1.")
    said = page.locator(".rl-column").text_content()
    assert "both: dynamic at this step and static" in said
    assert "looks most at “␣w31” and would copy that: yes" in said
    assert rows(page, ".rl-table") == [
        ["31", "␣w31", "0.5", "evidence"],
        ["3", "␣w3", "0.25", ""],
    ]
    assert [weight(page, p) for p in (31, 3, 30)] == ["71%", "50%", ""]
    press(page, "ArrowLeft")
    said = page.locator(".rl-column").text_content()
    assert "static, not dynamic at this step" in said
    assert "looks most at “␣w30” and would copy that: no, the token written is “a”" in said
    page.get_by_role("button", name="all active heads").click()
    settle(page)
    assert "Head" not in chosen(page)
    assert rows(page, ".rl-table") == []


@pytest.mark.parametrize(
    ("head", "static", "said"),
    [
        ((1, 0), [(0, 0)], "dynamic at this step, not static"),
        ((2, 0), [(0, 0)], "neither dynamic at this step nor static"),
        ((1, 0), None, "is dynamic at this step. "),
        ((2, 0), None, "is not dynamic at this step. "),
    ],
)
def test_the_kind_of_a_head(shown, head, static, said):
    page = shown(walk(), static=static, selection={"head": head})
    assert said in page.locator(".rl-column").text_content()


def test_keys_step_and_change_the_head(shown):
    page = shown(walk())
    press(page, "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight")
    assert chosen(page).startswith("Step 2 of 5")
    assert page.locator("[aria-selected=true]").get_attribute("aria-label").startswith("step 2:")
    press(page, "End", "ArrowRight")
    assert chosen(page).startswith("Step 4 of 5"), "the last step is the end"
    press(page, "Home", "ArrowLeft")
    assert chosen(page).startswith("Step 0 of 5")
    heads = []
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowUp"):
        press(page, key)
        heads.append(chosen(page).split("Head ")[1])
    assert heads == ["L1H0.", "L0H1.", "L2H1.", "L0H1.", "L1H0.", "L1H0."]
    press(page, "Escape")
    assert "Head" not in chosen(page)


def test_the_keys_of_a_field_stay_its_own(shown):
    page = shown(walk())
    page.locator("select").first.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_label("layers").press("End")
    settle(page)
    assert chosen(page).startswith("Step 0")


def moved(page, key: str, selector: str) -> bool:
    """Whether a key scrolls the box that has the focus."""
    top = f"() => document.querySelector('{selector}').scrollTop"
    before = page.evaluate(top)
    page.keyboard.press(key)
    for _ in range(20):
        settle(page)
        if page.evaluate(top) != before:
            return True
    return False


def test_boxes_that_scroll_keep_the_keys_that_scroll(shown):
    page = shown(walk(n_prompt=2000), n_windows=0, selection={"step": 1, "position": 30})
    page.locator(".rl-gap").nth(1).press("Enter")
    page.locator(".rl-text .rl-word").nth(1900).wait_for(state="attached")
    page.locator(".rl-list").evaluate("one => one.style.maxHeight = '40px'")
    before = chosen(page)
    for box in (".rl-text", ".rl-list"):
        page.locator(box).focus()
        page.keyboard.press("Home")
        settle(page)
        heard = "window.heard = 0, document.addEventListener('keydown', () => window.heard++)"
        page.evaluate(heard)
        for key in ("ArrowDown", "ArrowUp", "PageDown", "PageUp", "End", "Home"):
            assert moved(page, key, box), f"{key} in {box}"
        assert page.evaluate("window.heard") == 0, "a notebook around hears nothing of it"
        assert chosen(page) == before
    page.keyboard.press("ArrowRight")
    settle(page)
    assert chosen(page).startswith("Step 2 of 5"), "left and right step from there too"
    press(page, "ArrowDown")
    assert "Head L1H0." in chosen(page), "from elsewhere all keys are the explorer's"


def title(page, selector: str) -> str:
    return page.locator(selector).first.get_attribute("title")


def test_hovering_a_token_tells_its_attention(shown):
    page = shown(walk(), selection={"step": 1, "head": (2, 1)})
    assert title(page, "[data-position='31']") == "position 31, attention: 0.5"
    assert title(page, "[data-position='32']") == "position 32, attention: not among the 3 recorded"
    assert title(page, ".rl-generated .rl-word") == (
        "step 0, position 60, attention: not among the 3 recorded"
    )
    press(page, "ArrowRight")
    assert title(page, "[data-position='31']").endswith("not among the 3 recorded")
    assert title(page, "[data-position='32']") == "position 32, attention: 0.5"


def test_rows_move_when_they_are_sorted(shown):
    page = shown(walk())
    assert [head_of_row(page, row) for row in range(3)] == ["L1H0", "L0H1", "L2H1"]
    assert colour(page, 2, 4) == [8, 41, 77] and colour(page, 0, 4) == [255, 255, 255]
    page.get_by_label("rows by").select_option("mean")
    settle(page)
    assert [head_of_row(page, row) for row in range(3)] == ["L2H1", "L1H0", "L0H1"]
    assert colour(page, 0, 4) == [8, 41, 77] and colour(page, 2, 4) == [255, 255, 255]
    page.get_by_label("rows by").select_option("layer")
    settle(page)
    assert [head_of_row(page, row) for row in (0, 1, 5)] == ["L0H0", "L0H1", "L2H1"]


def test_layers_filter_the_map_and_what_is_counted(shown):
    page = shown(walk(), selection={"step": 1, "sort": "layer"})
    field = page.get_by_label("layers")
    field.fill("0, 2")
    settle(page)
    assert [head_of_row(page, row) for row in (1, 2, 3)] == ["L0H1", "L2H0", "L2H1"]
    assert page.locator(".rl-count").all_text_contents() == ["1", "1", "1", "1", "1"]
    press(page, "Escape")
    assert "1 of 4 heads of the shown layers is active" in page.locator(".rl-column").text_content()
    assert [weight(page, p) for p in (30, 31)] == ["", "71%"], "L1H0 is not shown"
    for bad in ("3", "2-1", "x", "1,"):
        field.fill(bad)
        settle(page)
        assert field.get_attribute("aria-invalid") == "true"
        assert "1 of 4 heads" in page.locator(".rl-column").text_content()
    field.fill("")
    settle(page)
    assert "2 of 6 heads are active" in page.locator(".rl-column").text_content()


def test_another_score(shown):
    page = shown(uuid_trace(n_prompt=200), score="reasoning")
    assert page.get_by_label("score").input_value() == "reasoning"
    before = colour(page, 0, 20)
    page.get_by_label("score").select_option("copy_paste")
    settle(page)
    assert colour(page, 0, 20) != before
    assert "copy_paste" in page.locator(".rl-column").text_content()


def test_the_prompt_is_cut_to_what_matters(shown):
    page = shown(walk(n_prompt=200), window=2, selection={"step": 0})
    # windows around 30 to 32 (evidence, attended), and 199 (the query)
    assert words(page) == [f" w{i}" for i in [*range(28, 35), 197, 198, 199]]
    gaps = page.locator(".rl-gap").all_text_contents()
    assert gaps == ["… 28 tokens …", "… 162 tokens …"]
    press(page, "ArrowRight")
    assert " w3" in words(page), "L2H1 looks at 3 as well"
    marks = page.locator(".rl-text .rl-evidence").all_text_contents()
    assert marks == [" w30", " w31", " w32"]


def test_only_so_many_attended_positions_get_a_window(shown):
    page = shown(walk(n_prompt=200), window=2, n_windows=1, selection={"step": 1})
    assert " w30" in words(page) and " w3" not in words(page), "weights .75 and .25"


def test_what_is_chosen_is_scrolled_into_view(shown):
    page = shown(uuid_trace(n_prompt=3000), selection={"sort": "layer", "head": (29, 8)})
    rows_above = page.locator(".rl-scroll").evaluate("one => one.scrollTop / 16")
    assert 240 < rows_above < 270
    assert head_of_row(page, 5).startswith(("L27", "L28"))
    press(page, "ArrowUp", "ArrowDown")
    page.locator(".rl-gap").first.press("Enter")
    page.locator(".rl-text [data-position='700']").click()
    settle(page)
    box = page.locator(".rl-text").bounding_box()
    word = page.locator(".rl-text .rl-chosen").bounding_box()
    assert box["y"] <= word["y"] <= box["y"] + box["height"]


def test_folds_open_and_close_again(shown):
    page = shown(walk(n_prompt=200), window=2)
    page.locator(".rl-gap").nth(1).press("Enter")
    settle(page)
    assert words(page) == [f" w{i}" for i in range(28, 200)]
    fold = page.locator(".rl-fold")
    assert fold.text_content() == "fold 162 tokens"
    assert fold.evaluate("one => one === document.activeElement"), "the keyboard goes on there"
    press(page, "ArrowRight")
    assert len(words(page)) > 172, "it stays open at the next step"
    page.locator(".rl-fold").click()
    settle(page)
    assert len(words(page)) < 20 and page.locator(".rl-fold").count() == 0


def test_a_large_fold_opens_in_pieces(shown):
    page = shown(uuid_trace(n_prompt=10_000, n_layers=2, n_heads=2))
    assert len(words(page)) < 150
    first_piece = page.evaluate(
        """document.querySelector('.rl-gap').click(),
        document.querySelectorAll('.rl-text .rl-word').length"""
    )
    assert 1500 <= first_piece < 2000
    page.locator(".rl-text .rl-word").nth(4900).wait_for(state="attached")
    page.locator(".rl-fold").first.click()
    settle(page)
    assert len(words(page)) < 150


def test_a_prompt_token_shows_who_looks_when(shown):
    page = shown(walk())
    page.locator("[data-position='30']").click()
    settle(page)
    assert "Prompt token 30, “␣w30”." in chosen(page)
    # L1H0 at every step with .75, L2H1 at step 0 with .5
    wanted = [
        [str(step), "␣b" if step == 1 else "abcde"[step], "L1H0", "0.75"] for step in range(5)
    ]
    assert rows(page, ".rl-list") == [*wanted, ["0", "a", "L2H1", "0.5"]]
    assert "of 2 heads, in 6 cells" in page.locator(".rl-who").text_content()
    ring = [179, 89, 10]
    marked = [colour(page, row, step, at=(1, 4)) for row, step in [(0, 4), (2, 0), (2, 2)]]
    assert marked[:2] == [ring, ring] and marked[2] != ring
    page.locator(".rl-list .rl-link").last.press("Enter")
    settle(page)
    assert chosen(page).startswith("Step 0 of 5") and "Head L2H1." in chosen(page)
    page.locator(".rl-kind .rl-link").press("Enter")
    settle(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    settle(page)
    assert "Head L2H1." in chosen(page), "a button that is gone leaves the keys to the explorer"
    press(page, "Escape")
    assert "Prompt token" not in chosen(page) and "Head L2H1." in chosen(page)
    assert page.locator(".rl-list").count() == 0


def test_positions_of_the_table_are_prompt_tokens_to_choose(shown):
    page = shown(walk(), selection={"head": (1, 0), "step": 3})
    assert rows(page, ".rl-table") == [
        ["30", "␣w30", "0.75", "evidence"],
        ["62", "c", "0.125", "generated"],
    ]
    page.locator(".rl-table .rl-link").press("Enter")
    settle(page)
    assert "Prompt token 30" in chosen(page)


def test_hovering_tells_the_cell(shown):
    page = shown(walk(), static=[(2, 1)], selection={"sort": "mean"})
    page.locator(".rl-canvas").hover(position={"x": 88 + 4.5 * column(page), "y": 8})
    assert page.locator(".rl-tip div").all_text_contents() == [
        "L2H1 at step 4, writes “e”",
        "copy_paste: 1 (active above 0.5, chance 0.05)",
        "both: dynamic at this step and static",
        "looks most at “␣w34”, weight 0.5",
    ]
    page.locator(".rl-title").hover()
    assert page.locator(".rl-tip").is_hidden()


def test_a_step_that_is_not_scored_says_so(shown):
    trace = walk()
    trace.scores["copy_paste"][4] = float("nan")
    page = shown(trace, selection={"step": 4, "head": (2, 1)})
    assert "copy_paste: not scored" in page.locator(".rl-column").text_content()
    assert page.locator(".rl-missing").count() == 1
    assert colour(page, 0, 4) == [217, 212, 199] and colour(page, 0, 3) == [255, 255, 255]


def test_a_head_without_recorded_attention(shown):
    page = shown(walk(), selection={"head": (0, 0)})
    assert "was not recorded" in page.locator(".rl-column").text_content()


def test_no_token_runs_and_all_show_as_text(open_document, tmp_path):
    n = len(HOSTILE)
    name = "</script><script>window.hacked=1</script>\ud83d"
    tops = {(step, 0, head): [(step, 0.5)] for step in range(n) for head in range(4)}
    scores = {name: torch.eye(n)[:, None, :4].clone()}
    trace = fake_trace(HOSTILE, HOSTILE, scores, tuple(range(n)), tops)
    document = saved(tmp_path, trace, trace, title=name, names=(name, "<b>"))
    opened = open_document(document)
    page = drawn(opened)
    page.locator("[data-position='1']").click()
    for step in range(0, n, 4):
        click_cell(page, 0, step)
    assert page.evaluate("typeof window.hacked") == "undefined" and not opened.errors
    assert words(page) == [visible(token, spaces=False) for token in HOSTILE]
    strip = page.locator(".rl-side").first.locator(".rl-token-text").all_text_contents()
    assert strip == [visible(token) for token in HOSTILE]
    assert page.locator(".rl-title").text_content() == visible(name, spaces=False)
    assert page.locator(".rl-explorer :is(img, script, b b, a)").count() == 0
    assert page.title() == visible(name, spaces=False)


def test_nothing_is_asked_for_even_where_it_would_be_allowed(open_document, tmp_path):
    document = saved(tmp_path, walk(), walk())
    assert document.count(POLICY) == 1
    opened = open_document(
        document.replace(POLICY, "default-src * 'unsafe-inline' 'unsafe-eval' data: blob:")
    )
    page = drawn(opened)
    press(page, "ArrowRight", "ArrowDown")
    page.locator(".rl-gap").first.click()
    page.wait_for_load_state("networkidle")
    assert len(opened.requests) == 1 and opened.requests[0].startswith("file:")


def test_the_page_forbids_requests(open_document, tmp_path):
    opened = open_document(saved(tmp_path, walk()))
    failed = opened.page.evaluate("fetch('data:text/plain,x').then(() => '', error => error.name)")
    assert failed == "TypeError"


@pytest.mark.parametrize("kind", ["explorer", "figure"])
def test_the_page_forbids_other_bases_and_forms(open_document, tmp_path, kind):
    what = explore(walk()) if kind == "explorer" else pd.DataFrame({"head": [1]})
    page = open_document(save_html(what, tmp_path / "a.html").read_text(encoding="utf-8")).page
    refused = page.evaluate(
        """new Promise(done => {
            const told = [];
            document.addEventListener("securitypolicyviolation", event => {
                told.push(event.violatedDirective);
                if (told.length === 2) done(told);
            });
            const base = Object.assign(document.createElement("base"), { href: "https://x.test/" });
            document.head.append(base);
            const form = document.createElement("form");
            form.action = "http://127.0.0.1:9/";
            document.body.append(form);
            form.submit();
            setTimeout(() => done(told), 2000);
        })"""
    )
    assert sorted(refused) == ["base-uri", "form-action"]
    assert page.evaluate("document.baseURI").startswith("file:")


@pytest.mark.parametrize(
    ("scheme", "ground", "ink", "rule"),
    [
        ("light", "255, 255, 255", "26, 34, 48", [211, 218, 226]),
        ("dark", "18, 22, 28", "231, 235, 241", [52, 60, 72]),
    ],
)
def test_light_and_dark_follow_the_reader(shown, scheme, ground, ink, rule):
    page = shown(walk(), scheme=scheme, selection={"head": (1, 0)})
    assert colour(page, 0, 0, at=(-86, 8)) == rule, "the ground of the chosen name"
    root = page.locator(".rl-explorer")
    assert root.get_attribute("data-theme") == scheme
    assert root.evaluate("one => getComputedStyle(one).backgroundColor") == f"rgb({ground})"
    assert root.evaluate("one => getComputedStyle(one).color") == f"rgb({ink})"
    assert colour(page, 0, 4) == [int(one) for one in ground.split(",")], "zero is the ground"


def test_the_theme_of_the_page_around_wins(shown):
    page = shown(walk())
    page.evaluate("document.body.style.setProperty('--jp-layout-color0', '#111111')")
    page.wait_for_selector(".rl-explorer[data-theme=dark]")
    settle(page)
    assert colour(page, 2, 4) == [234, 243, 251], "the largest value is the lightest"
    page.evaluate("document.body.style.removeProperty('--jp-layout-color0')")
    page.evaluate("document.body.setAttribute('data-md-color-scheme', 'slate')")
    page.wait_for_selector(".rl-explorer[data-theme=dark]")
    page.evaluate("document.body.setAttribute('data-md-color-scheme', 'default')")
    page.wait_for_selector(".rl-explorer[data-theme=light]")


def test_a_framed_page_follows_the_switch_of_the_page_around(browser, tmp_path):
    page = browser.new_page()
    page.set_content("<body data-md-color-scheme='slate'><iframe></iframe>")
    page.evaluate("text => document.querySelector('iframe').srcdoc = text", saved(tmp_path, walk()))
    framed = page.frame_locator("iframe")
    framed.locator(".rl-explorer[data-drawn][data-theme=dark]").wait_for()
    page.evaluate("document.body.setAttribute('data-md-color-scheme', 'default')")
    framed.locator(".rl-explorer[data-theme=light]").wait_for()
    page.close()


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits(shown, width):
    page = shown(uuid_trace(n_prompt=400), uuid_trace(n_prompt=400), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    tops = page.eval_on_selector_all(".rl-side", "all => all.map(one => one.offsetTop)")
    assert (tops[0] == tops[1]) == (width == 1280), "side by side, or one above the other"
