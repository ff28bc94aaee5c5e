import json
import re
import subprocess
import sys

import pytest
import torch

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.viz import attention
from retrieval_lens.viz.attention import active_heads
from retrieval_lens.viz.offline_html import library
from tests.viz.fake_trace import fake_trace, uuid_trace

N_PROMPT = 60
WORDS = tuple(f" w{i}" for i in range(N_PROMPT))


def props(element) -> dict:
    """What CircuitsVis was given: tokens, values, labels."""
    return json.loads(
        re.findall(r"CircuitsVis\.ColoredTokensMulti,\s*(\{.*\})\s*\)", element.local_src)[-1]
    )


def trace(tops=None, copy=(), evidence=(30, 31)):
    """Three steps, two layers of two heads; `copy` lists the (step, layer, head) that score 1."""
    scores = torch.zeros(3, 2, 2)
    for cell in copy:
        scores[cell] = 1.0
    return fake_trace(WORDS, ("A", "B", "C"), {"copy_paste": scores}, evidence, tops)


def test_only_windows_are_shown_each_opened_by_its_position():
    element = attention(trace({(1, 0, 1): [(10, 0.5)]}), 1, heads=[(0, 1)], window=1)
    assert props(element)["tokens"] == [
        " … 9 tokens …\n",
        *("[9] ", " w9", " w10", " w11"),
        " … 17 tokens …\n",
        *("[29] ", " w29", " w30", " w31", " w32"),
        " … 26 tokens …\n",
        *("[59] ", " w59", "A"),
    ]


def test_every_recorded_weight_stands_at_its_token_and_the_evidence_is_marked():
    tops = {(2, 0, 1): [(30, 0.5), (61, 0.25), (0, 0.125)], (2, 1, 0): [(31, 0.75)]}
    given = props(attention(trace(tops), 2, heads=[(0, 1), (1, 0)], window=0))
    assert given["labels"] == ["L0H1", "L1H0", "evidence"]
    seen = {
        token: row for token, row in zip(given["tokens"], given["values"], strict=True) if any(row)
    }
    assert seen == {
        " w0": [0.125, 0, 0],
        " w30": [0.5, 0, 1],
        " w31": [0, 0.75, 1],
        "B": [0.25, 0, 0],
    }


def test_the_tokens_end_with_the_query():
    assert props(attention(trace(), 0))["tokens"][-1] == " w59"
    assert props(attention(trace(), 2))["tokens"][-2:] == ["A", "B"]


def test_active_heads_come_first_then_those_that_look_at_the_evidence():
    tops = {
        (0, 0, 0): [(30, 0.1)],
        (0, 0, 1): [(5, 0.9), (31, 0.05)],
        (0, 1, 0): [(30, 0.3), (31, 0.2)],
        (0, 1, 1): [(31, 0.4)],
    }
    shown = trace(tops, copy=[(0, 0, 1), (0, 0, 0)])
    assert active_heads(shown, "copy_paste", 0, 4) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert props(attention(shown, 0, n_heads=3))["labels"] == [
        "L0H0",
        "L0H1",
        "L1H0",
        "evidence",
    ]
    # at step 1 nothing is active and nothing recorded: layer, then head
    assert active_heads(shown, "copy_paste", 1, 2) == [(0, 0), (0, 1)]


def test_larger_scores_come_first_among_active_heads_and_count_nothing_among_others():
    scores = {"reasoning": torch.tensor([[[0.6, 0.9], [0.4, 0.1]]])}
    tops = {(0, 1, 1): [(1, 0.5)], (0, 0, 0): [(1, 1.0)]}
    shown = fake_trace(("a", "b"), ("x",), scores, (1,), tops)
    assert active_heads(shown, "reasoning", 0, 4) == [(0, 1), (0, 0), (1, 1), (1, 0)]


def test_the_caption_tells_the_step_the_scores_and_what_is_not_known():
    text = attention(trace(copy=[(1, 0, 1)]), 1, n_heads=2).local_src
    caption = text[: text.index("</p>")]
    assert "Step 1 looks from position 60, “A”, and generates “B”" in caption
    assert "L0H1 (1, active), L0H0 (0)." in caption
    assert "Only the 3 most attended positions of each head are recorded" in caption


def test_tokens_are_escaped_before_they_reach_the_library():
    evil = "</script><script>1</script>"
    shown = fake_trace((evil, "<b>"), (evil,), {"copy_paste": torch.zeros(1, 1, 1)}, (1,))
    source = attention(shown, 0).local_src.replace(library(), "")
    assert evil not in source and "<b>" not in source
    assert "&lt;/script&gt;" in source and source.count("</script>") == 1


def test_it_stays_small_for_a_long_prompt():
    element = attention(uuid_trace(n_prompt=5000), 39)
    assert library() in element.local_src
    assert len(element.local_src.replace(library(), "").encode()) < 200_000


def test_showing_it_asks_no_network(monkeypatch):
    import circuitsvis.utils.render as render

    asked = []
    monkeypatch.setattr(render, "internet_on", lambda: asked.append(True) or True)
    element = attention(trace(), 0)
    assert isinstance(element, render.RenderedHTML)
    for shown in (element._repr_html_(), element.__html__(), str(element), element.show_code()):
        assert library() in shown and "unpkg.com" not in shown
    assert not asked


def test_the_container_is_closed_so_that_nothing_after_it_is_swallowed():
    assert re.search(r'<div id="circuits-vis-[^"]*"[^>/]*></div>', attention(trace(), 0).local_src)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": 3}, "no step 3 in a trace of 3 steps"),
        ({"step": -1}, "no step -1"),
        ({"step": 0, "n_heads": 0}, "n_heads=0"),
        ({"step": 0, "window": -1}, "window=-1"),
        ({"step": 0, "heads": [(0, 2)]}, r"no head \(0, 2\)"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        attention(trace(), **arguments)


def test_an_unknown_score_lists_the_known():
    with pytest.raises(UnknownNameError, match="'copy_paste'"):
        attention(trace(), 0, score="wu")


def test_importing_the_figures_is_light_and_runs_no_model():
    code = (
        "import sys, retrieval_lens; before = set(sys.modules); import retrieval_lens.viz; "
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "retrieval_lens.viz.timeline" in loaded
    heavy = {"torch", "circuitsvis", "pandas", "transformers", "transformer_lens"}
    floors = {f"retrieval_lens.{floor}" for floor in ("models", "tasks", "tracing")}
    assert not (heavy | floors) & set(loaded)
