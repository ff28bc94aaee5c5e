"""Algorithm 1 step by step on a scripted reader: what is asked of it, and the trail."""

import pytest
import torch

from retrieval_lens.errors import InputError
from retrieval_lens.rag import RIND, FullContext, NoContext, Settings, context_of, run
from retrieval_lens.rag.calibration import largest_scores
from retrieval_lens.tasks import RetrievalExample
from tests.rag.fake_reader import CONTEXT, FIRST, TOKENIZER, FakeReader, Scripted, example, ids

W = ((20, 23),)
SEEN = [20, 21, 22]


def play(script, turns=(), settings=None, seed=0, **options):
    reader, strategy = FakeReader(script), Scripted(turns)
    found = run(reader, example(), strategy, settings or Settings(**options), seed)
    assert not reader.script
    return found, reader.calls, strategy.asked


def test_no_hit_appends_drafts_and_shows_nothing():
    found, calls, asked = play(["Rain fell.", "The old harbour slept. |"])
    assert found.text == "Rain fell. The old harbour slept." and found.tokens == ids(found.text)
    assert found.stopped_by == "end_of_text" and asked == []
    assert calls == [
        ("draft", "", [], 64, 1),
        ("rows", "Rain fell.", "", "isolated"),
        ("draft", "Rain fell.", [], 64, 1),
        ("rows", "The old harbour slept.", "Rain fell.", "isolated"),
    ]
    first = found.rounds[0]
    assert (first.hit, first.windows, first.rewrite, first.seen) == (None, None, None, ())
    assert first.added == ids("Rain fell.") and [w["word"] for w in first.rind] == ["Rain", "fell."]
    assert found.metrics["n_retrievals"] == found.metrics["evidence_recall"] == 0
    assert found.metrics["n_rounds"] == 2 and found.metrics["truncated"] == 0


def test_hit_in_the_first_sentence_and_when_windows_are_hidden_again():
    script = ["The old HARBOUR slept.", "Gulls cried.", "Rain fell.", "Bread is cheap. |"]
    found, calls, (request,) = play(script, (W,))
    assert found.text == "Gulls cried. Rain fell. Bread is cheap."
    assert calls == [
        ("draft", "", [], 64, 1),
        ("rows", "The old harbour slept.", "", "isolated"),
        ("draft", "", SEEN, 64, 1),  # the rewrite, which is not judged
        ("draft", "Gulls cried.", SEEN, 64, 1),  # as printed: still visible behind a rewrite
        ("rows", "Rain fell.", "Gulls cried.", "isolated"),
        ("draft", "Gulls cried. Rain fell.", [], 64, 1),  # hidden behind a clean draft
        ("rows", "Bread is cheap.", "Gulls cried. Rain fell.", "isolated"),
    ]
    assert (request.generated, request.round, request.seed) == ((), 0, 0)
    one, two, three = found.rounds
    assert (one.hit, one.kept, one.windows, one.rewrite) == ("harbour", "", W, "Gulls cried.")
    assert one.draft == "The old harbour slept." and one.added == ids("Gulls cried.")
    assert [w["hit"] for w in one.rind] == [False, False, True, False]
    assert (one.seen, two.seen, three.seen) == ((), W, ())
    assert found.metrics["n_retrievals"] == 1 and found.revealed == W


def test_remask_always_hides_behind_a_rewrite_too():
    script = ["The old HARBOUR slept.", "Gulls cried.", "Rain fell. |"]
    _, calls, _ = play(script, (W,), remask="always")
    assert [call[2] for call in calls if call[0] == "draft"] == [[], SEEN, []]


def test_two_hits_in_a_row_replace_the_windows():
    script = ["Rain FELL.", "Gulls cried.", "Bread is CHEAP.", "Rain fell. |"]
    found, calls, asked = play(script, (W, ((50, 52), (60, 61))), seed=7)
    drafts = [(call[1], call[2]) for call in calls if call[0] == "draft"]
    assert drafts[1:] == [("", SEEN), ("Gulls cried.", SEEN), ("Gulls cried.", [50, 51, 60])]
    assert [(request.round, request.seed, request.text) for request in asked] == [
        (0, 7, ""),
        (1, 7, "Gulls cried."),
    ]
    assert found.rounds[1].seen == W and found.revealed == (*W, (50, 52), (60, 61))
    assert found.metrics["revealed_share"] == pytest.approx(6 / 100)
    assert found.metrics["evidence_recall"] == 0 and found.metrics["n_retrievals"] == 2


def test_sentences_before_the_hit_are_kept():
    script = ["Rain fell. Gulls cried. Bread is CHEAP. and so", "The old harbour slept. |"]
    found, calls, (request,) = play(script, (((14, 15),),), draft_sentences=None, max_tokens=12)
    assert found.text == "Rain fell. Gulls cried. The old harbour slept."
    assert found.rounds[0].kept == "Rain fell. Gulls cried." == request.text
    assert calls[0] == ("draft", "", [], 12, None)
    assert calls[-1] == ("draft", "Rain fell. Gulls cried.", [14], 8, 1)
    assert found.metrics["evidence_recall"] == 0.5  # w12 of w12 w13


def test_nothing_of_a_draft_is_kept_on_demand():
    script = ["Rain fell. Gulls cried. Bread is CHEAP.", "The old harbour slept. Rain fell. |"]
    options = {"draft_sentences": None, "rewrite_sentences": 2, "keep": "nothing"}
    found, calls, (request,) = play(script, (W,), **options)
    assert found.text == "The old harbour slept. Rain fell." and request.generated == ()
    assert found.rounds[0].kept == "" and calls[-1] == ("draft", "", SEEN, 64, 2)


def test_the_first_retrieval_is_told_apart_from_all_of_them():
    script = ["Rain FELL.", "Gulls cried.", "Bread is CHEAP.", "Rain fell. |"]
    found, *_ = play(script, (((14, 15), (50, 53)), ((15, 16),)))
    assert found.first_windows == ((14, 15), (50, 53))
    assert found.first_recall == 0.5 and found.first_share == pytest.approx(4 / 100)
    assert found.metrics["evidence_recall"] == 1, "w12 at first, w13 later"
    clean, *_ = play(["Rain fell. |"])
    assert clean.first_windows is clean.first_recall is clean.first_share is None


def test_the_end_that_counts_is_that_of_what_is_kept():
    found, *_ = play(["Rain FELL. |", "Gulls cried.", "|"], (W,))
    assert found.text == "Gulls cried." and found.stopped_by == "end_of_text"
    assert len(found.rounds) == 2 and found.rounds[1].rind == ()
    found, *_ = play(["Rain FELL.", "Gulls cried. |"], (W,))
    assert len(found.rounds) == 1 and found.stopped_by == "end_of_text"
    assert play(["|"])[0].text == ""


def test_no_growth_stops():
    found, *_ = play(["Rain FELL.", ""], (W,))
    assert (found.stopped_by, found.tokens, len(found.rounds)) == ("no_growth", (), 1)
    assert play([""])[0].stopped_by == "no_growth"


def test_length_cap():
    found, calls, _ = play(
        ["and so it went on", "and HARBOUR so", "The old harbour slept."],
        (W,),
        draft_tokens=4,
        max_tokens=6,
    )
    assert [call[3] for call in calls if call[0] == "draft"] == [4, 2, 2]
    assert found.text == "and so it went The old"
    assert found.stopped_by == "max_tokens" and found.metrics["truncated"] == 1


def test_an_answer_stops():
    script = ["Rain fell.", "so the answer is Bob.", "Gulls cried. |"]
    found, *_ = play(script[:2])
    assert found.stopped_by == "stop_text" and found.text.endswith("Bob.")
    assert play(script, stop_text=None)[0].stopped_by == "end_of_text"


def test_threshold_never_and_always():
    script = ["Rain FELL.", "Gulls CRIED. |"]
    never, calls, _ = play(script[:], rind=RIND(threshold=1e9))
    hidden = run(FakeReader(script[:]), example(), NoContext())
    assert never.tokens == hidden.tokens == ids("Rain fell. Gulls cried.")
    assert all(call[2] == [] for call in calls if call[0] == "draft")
    always, _, asked = play(
        ["Rain FELL.", "Gulls cried.", "Bread is CHEAP. |", "Rain fell. |"],
        (W, W),
        rind=RIND(threshold=0),
    )
    assert always.text == "Gulls cried. Rain fell." and len(asked) == 2


def test_strategies_that_do_not_retrieve_are_plain_generation():
    for strategy, seen in ((NoContext(), []), (FullContext(), list(range(FIRST, FIRST + 100)))):
        reader = FakeReader(["Rain FELL.", "Gulls cried. |"])
        found = run(reader, example(), strategy)
        assert [call[:3] for call in reader.calls] == [
            ("draft", "", seen),
            ("draft", "Rain fell.", seen),
        ]
        assert found.metrics["revealed_share"] == float(bool(seen))
        assert found.metrics["evidence_recall"] == float(bool(seen))


def test_windows_must_lie_in_the_context():
    for bad in ((1, 5), (100, 103)):
        with pytest.raises(InputError, match="reaches out"):
            play(["Rain FELL."], ((bad,),))


def test_in_context_rows_are_asked_for():
    _, calls, _ = play(["Rain fell. |"], rind=RIND(attention="in_context"))
    assert calls[1][3] == "in_context"


def test_largest_scores_of_calibration():
    # uniform causal rows: weight of word j is 1 / j; shares of three words are 6, 3, 2 elevenths
    reader = FakeReader(["Rain the FELL.", "and so", "HARBOUR cried. |"])
    found = largest_scores(reader, example(), Settings(), n_drafts=5)
    assert found == pytest.approx([100 * 2 / 11 * 3, 0, 100 * 2 / 3 * 2])
    assert all(call[2] == [] for call in reader.calls if call[0] == "draft")
    assert len(largest_scores(FakeReader(["Rain fell."]), example(), Settings(), 1)) == 1
    assert largest_scores(FakeReader(["|"]), example(), Settings(), 3) == [0]


def test_context_by_its_text_and_by_documents():
    whole = context_of(example(), TOKENIZER)
    assert whole.span == (FIRST, FIRST + 100) and whole.evidence_spans == ((14, 16),)
    spans, texts = whole.sentences
    assert spans == tuple((FIRST + i, FIRST + i + 10) for i in range(0, 100, 10))
    assert texts[1].split() == CONTEXT.split()[10:20]
    at = example().prompt.index("w10")
    end = example().prompt.index("w30")
    documents = example(meta={"document_spans": [[at, at + 20], [at + 21, end - 1]]})
    assert context_of(documents, TOKENIZER).span == (12, 32)


def test_a_prepended_token_moves_the_context():
    plain = example()
    moved = RetrievalExample(
        "moved",
        plain.prompt,
        torch.cat([torch.tensor([1]), plain.token_ids]),
        plain.evidence + 1,
        plain.evidence_spans,
        context=CONTEXT,
    )
    assert context_of(moved, TOKENIZER).span == (FIRST + 1, FIRST + 101)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"context": ""}, "no context"),
        ({"context": "not there"}, "cannot be found"),
        ({"context": "w20 w21 w22"}, "outside its context"),
        ({"context": f"{CONTEXT} Ask: who?"}, "ends its prompt"),
        ({"meta": {"document_spans": []}}, "has documents"),
        ({"meta": {"document_spans": [[5, 4000]]}}, "has documents"),
        ({"meta": {"document_spans": [3, 4]}}, "has documents"),
    ],
)
def test_what_is_no_context(bad, message):
    with pytest.raises(InputError, match=message):
        context_of(example(**bad), TOKENIZER)
