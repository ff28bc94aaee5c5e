"""A saved explorer in the browser, and where its cells are."""

from types import SimpleNamespace

import numpy as np

from retrieval_lens.viz.explorer import explore
from retrieval_lens.viz.save_html import save_html
from tests.viz.fake_trace import fake_trace

LABEL, ROW = 88, 16  # pixels, as in map.js


def walk(n_prompt: int = 60, **more):
    """Five steps of 3 layers of 2 heads, two prompt regions, and known places to look at.

    Copy-paste by head over the steps: L0H1 at 0; L1H0 at 0, 1; L2H1 at 1, 2, 3, 4.
    """
    import torch

    scores = torch.zeros(5, 3, 2)
    for (layer, head), steps in {(0, 1): [0], (1, 0): [0, 1], (2, 1): [1, 2, 3, 4]}.items():
        scores[steps, layer, head] = 1.0
    tops = {(step, 2, 1): [(30 + step, 0.5), (3, 0.25)] for step in range(5)}
    tops |= {(step, 1, 0): [(30, 0.75), (n_prompt + step - 1, 0.125)] for step in range(5)}
    prompt = tuple(f" w{i}" for i in range(n_prompt))
    return fake_trace(
        prompt, ("a", " b", "c", "d", "e"), {"copy_paste": scores}, (30, 31, 32), tops, **more
    )


def saved(tmp_path, trace, *args, selection=None, **options) -> str:
    """The document of an explorer."""
    widget = explore(trace, *args, **options)
    widget.selection = selection or {}
    return save_html(widget, tmp_path / "explorer.html").read_text(encoding="utf-8")


def drawn(opened):
    """The page, once its first map is there."""
    opened.page.wait_for_selector(".rl-explorer[data-drawn]")
    settle(opened.page)
    return opened.page


def settle(page):
    """Wait until what was changed is drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def column(page) -> float:
    """Width of a step in the map, in pixels."""
    return page.locator(".rl-filler").first.evaluate(
        "one => parseFloat(one.style.getPropertyValue('--rl-column'))"
    )


def click_cell(page, row: int, step: int | None, side: int = 0):
    """Click a cell of the map, or the name of a row."""
    x = LABEL / 2 if step is None else LABEL + (step + 0.5) * column(page)
    place = {"x": x, "y": (row + 0.5) * ROW}
    page.locator(".rl-canvas").nth(side).click(position=place)
    settle(page)


def press(page, *keys: str):
    """Press keys on the explorer."""
    for key in keys:
        page.locator(".rl-explorer").press(key)
    settle(page)


def chosen(page) -> str:
    """What the explorer says is chosen."""
    return page.locator(".rl-said").text_content()


def head_of_row(page, row: int) -> str:
    """The name of the head in a row, asked for by choosing it."""
    click_cell(page, row, None)
    return page.locator(".rl-kind b").first.text_content()


def numpy_trace(n_prompt=50, n_steps=4, n_layers=3, n_heads=2, m=2, seed=0) -> SimpleNamespace:
    """A trace of plain arrays: nothing here needs torch."""
    random = np.random.default_rng(seed)
    shape = (n_steps, n_layers, n_heads)
    return SimpleNamespace(
        token_ids=np.arange(n_prompt),
        prompt_str_tokens=tuple(f" t{i}" for i in range(n_prompt)),
        evidence=np.arange(10, 14),
        tokens=np.arange(n_steps) + 10,
        str_tokens=tuple(f" t{i + 10}" for i in range(n_steps)),
        truncated=False,
        scores={"copy_paste": random.random(shape).astype(np.float32)},
        thresholds={"copy_paste": np.full(n_steps, 0.5)},
        chance={"copy_paste": np.full(n_steps, 0.1)},
        top_positions=random.integers(0, n_prompt, (*shape, m)),
        top_weights=random.random((*shape, m)).astype(np.float32),
    )
