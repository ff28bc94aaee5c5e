"""Whether the explorer stays fluent on a long prompt and a large model.

    python benchmarks/explorer.py                      # 10,000 tokens, 64 steps, 1,024 heads

1. A trace is drawn from a random generator; no model is needed.
2. It is saved as a page and opened in Chromium: seconds until the first map is drawn.
3. The keys are pressed one by one: milliseconds of script, layout and paint until the next frame
   can be drawn, and of the script alone.
"""

import shutil
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import measure
import numpy as np
import torch
import typer

from retrieval_lens.viz.save_html import save_html

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# a message comes back after the frame was painted
STEP = """async ([keys, n]) => {
    const root = document.querySelector('.rl-explorer');
    const painted = () => new Promise(done => requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = done;
        channel.port2.postMessage(0);
    }));
    const times = [];
    await painted();
    for (let i = 0; i < n; i++) {
        const start = performance.now();
        const key = keys[i % keys.length];
        root.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
        await painted();
        times.push(performance.now() - start);
    }
    return times;
}"""
FRAMES = """async ([key, n]) => {
    const root = document.querySelector('.rl-explorer');
    const frame = () => new Promise(requestAnimationFrame);
    const times = [];
    let last = await frame();
    for (let i = 0; i < n; i++) {
        root.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
        const now = await frame();
        times.push(now - last);
        last = now;
    }
    return times;
}"""

TIMED = """async () => {
    const start = performance.now();
    %s;
    await new Promise(done => requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = done;
        channel.port2.postMessage(0);
    }));
    return performance.now() - start;
}"""
UNFOLD = "document.querySelectorAll('.rl-gap').forEach(gap => gap.click())"


def synthetic(n_prompt: int, n_steps: int, n_layers: int, n_heads: int, m: int) -> SimpleNamespace:
    """A trace in which some heads follow the evidence and the others look anywhere."""
    random = np.random.default_rng(0)
    shape = (n_steps, n_layers, n_heads)
    rate = random.random((n_layers, n_heads)) ** 8
    copy = (random.random(shape) < rate).astype(np.float32)
    positions = random.integers(0, n_prompt, (*shape, m), dtype=np.int32)
    evidence = np.arange(n_prompt // 2, n_prompt // 2 + n_steps)
    positions[..., 0] = np.where(copy > 0, evidence[:, None, None], 0)
    words = (" The", " harbour", " was", " quiet", ",", " and", " the", " boats", " lay", ".\n")
    return SimpleNamespace(
        token_ids=np.arange(n_prompt),
        prompt_str_tokens=tuple(words[i % len(words)] for i in range(n_prompt)),
        evidence=evidence,
        tokens=np.arange(n_steps),
        str_tokens=tuple(words[i % len(words)] for i in range(n_steps)),
        truncated=False,
        scores={"copy_paste": copy, "reasoning": copy * random.random(shape, dtype=np.float32)},
        thresholds={"copy_paste": np.full(n_steps, 0.5), "reasoning": np.full(n_steps, 0.1)},
        chance={"copy_paste": np.zeros(n_steps), "reasoning": np.full(n_steps, 0.02)},
        top_positions=positions,
        top_weights=-np.sort(-random.dirichlet(np.ones(m + 1), shape)[..., :m].astype(np.float32)),
    )


def spread(values: list[float]) -> str:
    """Median and 95th percentile of milliseconds."""
    return f"{np.median(values):.1f} ms, 95th percentile {np.percentile(values, 95):.1f} ms"


def in_browser(path: Path, n_prompt: int, n_presses: int) -> dict[str, Any]:
    """Open the page and press keys."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or None, args=CHROMIUM
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        start = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector(".rl-explorer[data-drawn]")
        page.evaluate("new Promise(requestAnimationFrame)")
        loaded = time.perf_counter() - start
        steps = page.evaluate(STEP, [["ArrowRight"], n_presses])
        heads = page.evaluate(STEP, [["ArrowDown"], n_presses])
        frames = page.evaluate(FRAMES, ["ArrowLeft", n_presses])
        click = "document.querySelectorAll('.rl-text .rl-evidence')[{}].click()"
        first = page.evaluate(TIMED % click.format(0))
        second = page.evaluate(TIMED % click.format(5))
        sink = page.evaluate(TIMED % "document.querySelector(\"[data-position='0']\").click()")
        sunk = page.evaluate(STEP, [["ArrowRight", "ArrowLeft"], n_presses])
        page.evaluate(STEP, [["Escape"], 1])
        fold = page.evaluate(TIMED % UNFOLD)
        page.locator(".rl-text .rl-word").nth(int(0.95 * n_prompt)).wait_for(state="attached")
        after = page.evaluate(STEP, [["ArrowRight", "ArrowLeft"], n_presses])
        browser.close()
    return {
        "load to first map": f"{loaded:.2f} s",
        "a step by key, to the painted frame": spread(steps),
        "a head by key, to the painted frame": spread(heads),
        "between frames while stepping": spread(frames),
        "first prompt token chosen (index made)": f"{first:.0f} ms",
        "the next": f"{second:.0f} ms",
        "the sink, which most heads look at": f"{sink:.0f} ms",
        "a step by key with the sink chosen": spread(sunk),
        "the whole prompt unfolded, first pieces": f"{fold:.0f} ms",
        "a step by key with the whole prompt shown": spread(after),
    }


def main(
    n_prompt: int = 10_000,
    n_steps: int = 64,
    n_layers: int = 32,
    n_heads: int = 32,
    m: int = 8,
    n_presses: int = 60,
    out: Path | None = None,
) -> None:
    """Measure and print a table; `--out` writes JSON."""
    trace = synthetic(n_prompt, n_steps, n_layers, n_heads, m)
    size = f"{n_prompt:,} tokens x {n_steps} steps x {n_layers * n_heads:,} heads, m = {m}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        took = measure.seconds(lambda: save_html(trace, path), torch.device("cpu"))
        result = {
            "what": size,
            "file": f"{path.stat().st_size / 2**20:.1f} MiB",
            "save_html": f"{took:.2f} s",
            **in_browser(path, n_prompt, n_presses),
        }
    measure.report([result], "Chromium, software rendering", out)


if __name__ == "__main__":
    typer.run(main)
