"""The picture of an answer's trail."""

from dataclasses import replace

import pytest

from retrieval_lens.errors import InputError
from retrieval_lens.rag import Answer, Round
from retrieval_lens.viz import trail

CLEAN = Round("A draft.", (1, 2), (), "A draft.", (1, 2), False)
HIT = Round(
    "Then <b>Orle</b>.",
    (3, 4),
    (),
    "",
    (),
    True,
    hit="<b>Orle</b>",
    heads=((18, 6), (3, 0)),
    positions=(25, 12),
    clusters=((12,), (25,)),
    windows=((10, 15), (22, 30)),
    rewrite=" Then Brell.",
    rewrite_tokens=(5, 6, 7),
)
ANSWER = Answer(
    "A draft. Then <i>Brell</i>.",
    (1, 2, 5, 6, 7),
    {"n_retrievals": 1.0, "evidence_recall": 0.5, "revealed_share": 0.26, "em": 0.0, "f1": 0.4},
    (CLEAN, HIT),
    "end_of_text",
    {"context": [4, 54], "evidence": [12, 13, 40, 41], "strategy": {"name": "oracle_dynamic"}},
)


def parts(figure):
    return {trace.name: trace for trace in figure.data}


def test_a_row_a_round_and_one_for_the_facts():
    figure = trail(ANSWER)
    assert list(figure.layout.yaxis.ticktext) == [
        "1: kept",
        "2: ‘&lt;b&gt;Orle&lt;/b&gt;’ fired",
        "facts",
    ]
    assert figure.layout.yaxis.autorange == "reversed"
    context = parts(figure)["context"]
    assert list(context.x) == [50] * 3 and list(context.base) == [3.5] * 3


def test_windows_positions_and_facts_stand_where_they_are():
    found = parts(trail(ANSWER))
    shown = found["shown to the rewrite"]
    assert (list(shown.base), list(shown.x), list(shown.y)) == ([9.5, 21.5], [5, 8], [1, 1])
    looked = found["most attended"]
    assert list(zip(looked.x, looked.y, strict=True)) == [(25, 1), (12, 1)]
    facts = found["facts"]
    assert list(facts.base) == [11.5, 39.5] and list(facts.x) == [2, 2] and set(facts.y) == {2}


def test_the_hover_tells_the_story_and_nothing_runs():
    figure = trail(ANSWER)
    text = parts(figure)["shown to the rewrite"].hovertext[0]
    assert "<b>heads</b> L18H6, L3H0" in text and "Then Brell." in text
    assert "&lt;b&gt;Orle" in text and "tokens 10 to 14" in text
    assert "&lt;i&gt;Brell" in figure.layout.title.text
    told = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert "50% of the facts in 26% of the context" in told and "F1 0.40" in told
    assert "1 retrievals" not in told and "1 retrieval " in told


def test_an_answer_without_a_retrieval_is_drawn():
    figure = trail(replace(ANSWER, rounds=(CLEAN,)))
    assert not len(parts(figure)["shown to the rewrite"].x or ())
    assert "seen by the draft" not in parts(figure)
    told = parts(figure)["context"].hovertext
    assert "<b>draft</b> A draft." in told[0] and told[1] == "the facts"


def test_what_a_draft_could_see_is_drawn():
    whole = replace(CLEAN, seen=((4, 54),))
    figure = trail(replace(ANSWER, rounds=(CLEAN, whole)))
    seen = parts(figure)["seen by the draft"]
    assert (list(seen.base), list(seen.x), list(seen.y)) == ([3.5], [50], [1])
    assert "A draft." in seen.hovertext[0]


@pytest.mark.parametrize("given", [None, "text", replace(ANSWER, rounds=())])
def test_something_else_is_refused(given):
    with pytest.raises(InputError, match="wanted an answer of rag.answer with its rounds"):
        trail(given)
