"""The loop on the real model against plain transformers and the tracer."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

import retrieval_lens as rl
from retrieval_lens.models import checkpoint_folder
from retrieval_lens.rag import (
    RIND,
    DynamicRandom,
    FullContext,
    GoldSpans,
    ModelReader,
    NoContext,
    OracleDynamic,
    Request,
    Settings,
    answer,
    answer_many,
    calibrate_threshold,
    context_of,
    entropy_of,
)
from retrieval_lens.rag.reader import sentence_starts
from retrieval_lens.tracing.visible_run import VisibleRun

ALWAYS = RIND(threshold=0)
SHORT = Settings(max_tokens=24, stop_text=None)


@pytest.fixture(scope="module")
def questions(smollm2):
    return rl.tasks.hotpotqa.own(smollm2.tokenizer, n_paragraphs=2, limit=3)


@pytest.fixture(scope="module")
def question(questions):
    return questions[0]


@pytest.fixture(scope="module")
def plain():
    folder = checkpoint_folder("smollm2-135m")
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@torch.no_grad()
def greedy_by_hand(plain, ids, positions, n, stop):
    """The last token and position seen decide; nothing of the package is used."""
    cache, tokens = None, []
    while len(tokens) < n:
        out = plain(ids, position_ids=positions, past_key_values=cache, use_cache=True)
        cache, token = out.past_key_values, int(out.logits[0, -1].argmax())
        if token in stop:
            break
        tokens.append(token)
        ids, positions = torch.tensor([[token]]), positions[:, -1:] + 1
    return tokens


def test_context_is_what_the_paragraphs_take(smollm2, question):
    start, end = context_of(question, smollm2.tokenizer).span
    text = smollm2.tokenizer.decode(question.token_ids[start:end])
    assert text.strip() == question.context.strip()


def test_no_context_is_plain_decoding_without_it(smollm2, plain, question):
    start, end = context_of(question, smollm2.tokenizer).span
    kept = torch.tensor([i for i in range(len(question.token_ids)) if not start <= i < end])
    ids = question.token_ids[kept][None]
    stop = [plain.generation_config.eos_token_id, smollm2.tokenizer.eos_token_id]
    expected = greedy_by_hand(plain, ids, kept[None], 24, stop)
    found = answer(smollm2, question, NoContext(), SHORT)
    assert list(found.tokens) == expected and len(expected) > 5
    assert found.metrics["revealed_share"] == 0


def test_full_context_is_what_the_tracer_decodes(smollm2, question):
    many = answer_many(
        smollm2, [question], {"full": FullContext(), "none": NoContext()}, SHORT, progress=False
    )
    trace = rl.RetrievalTracer(smollm2).trace(question, max_new_tokens=24)
    (full,), (none,) = many["full"], many["none"]
    assert list(full.tokens) == trace.tokens[: len(full.tokens)].tolist()
    assert full.text == trace.text and full.tokens != none.tokens
    assert full.provenance["strategy"] == {"name": "full_context"}


@pytest.mark.parametrize("before", ["", "Ostrelby lies by the sea. The"])
@pytest.mark.parametrize("attention", ["isolated", "in_context"])
@torch.no_grad()
def test_rind_of_a_draft_equals_plain_transformers(smollm2, plain, question, attention, before):
    before = tuple(map(int, smollm2.tokenizer(before).input_ids))
    place = context_of(question, smollm2.tokenizer)
    visible = place.visible([(place.span[0] + 3, place.span[0] + 20)])
    rind = RIND(attention=attention)
    with ModelReader(smollm2, question) as reader:
        draft = reader.draft(before, visible, 24, 1)
        rows = reader.rows(draft.tokens, before, visible, attention)
    ours = rind.measure(smollm2.tokenizer, torch.tensor(draft.tokens), draft.entropy, rows)
    kept = visible.nonzero().flatten()
    tokens, n = torch.tensor(draft.tokens), len(draft.tokens)
    prefix = torch.cat([question.token_ids[kept], torch.tensor(before, dtype=torch.long)])
    start = len(prefix)
    positions = torch.cat([kept, len(visible) + torch.arange(len(before) + n)])
    ids = torch.cat([prefix, tokens])
    out = plain(ids[None], position_ids=positions[None], output_attentions=True)
    theirs = out.attentions[-1][0, :, start:, start:]
    if attention == "isolated":
        theirs = plain(tokens[None], output_attentions=True).attentions[-1][0]
    entropy = entropy_of(out.logits[0, start - 1 : start - 1 + n])
    frame = rind.measure(smollm2.tokenizer, tokens, entropy, theirs)
    assert len(frame) > 5 and frame["word"].tolist() == ours["word"].tolist()
    torch.testing.assert_close(
        torch.tensor(ours["score"]), torch.tensor(frame["score"]), atol=1e-4, rtol=1e-4
    )


def test_hook_engine_gives_the_same_rows_and_look(smollm2, question):
    visible = context_of(question, smollm2.tokenizer).visible(())
    tokens = tuple(smollm2.tokenizer("The yard is in Ostrelby.").input_ids)
    found = []
    for engine in ("fast", "hooks"):
        with ModelReader(smollm2, question, engine=engine) as reader:
            rows = reader.rows(tokens, (), visible, "isolated")
            found.append((rows, reader.look(tokens), reader.draft(tokens[:2], visible, 4, 1)))
    (rows, look, draft), (hooked_rows, hooked_look, hooked_draft) = found
    torch.testing.assert_close(rows, hooked_rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(look.rows, hooked_look.rows, atol=1e-5, rtol=0)
    assert look.predicted == hooked_look.predicted and draft.tokens == hooked_draft.tokens


def test_a_draft_is_one_sentence(smollm2):
    """A draft ends where the sentence ends in what is decoded without stopping."""
    (plain,) = rl.tasks.hotpotqa.own(smollm2.tokenizer, n_paragraphs=2, limit=1, chat=False)
    visible = context_of(plain, smollm2.tokenizer).visible(())
    begun = tuple(smollm2.tokenizer(" The Grey Heron is a ship. It").input_ids)
    with ModelReader(smollm2, plain) as reader:
        one = reader.draft(begun, visible, 16, 1)
        long = reader.draft(begun, visible, 16, None)
    _, end = sentence_starts(smollm2.tokenizer, long.tokens)
    assert one.tokens == long.tokens[:end] and not one.ended and len(one.tokens) > 2
    torch.testing.assert_close(one.entropy, long.entropy[:end], atol=1e-3, rtol=0)


def test_nothing_is_computed_twice(smollm2, question, monkeypatch):
    fed = []
    feed = VisibleRun.feed

    def counted(run, token_ids, positions):
        fed.append(len(token_ids))
        return feed(run, token_ids, positions)

    monkeypatch.setattr(VisibleRun, "feed", counted)
    place = context_of(question, smollm2.tokenizer)
    n_seen = len(question.token_ids) - place.n_tokens
    tokens = tuple(smollm2.tokenizer("The Grey Heron was built").input_ids)
    with ModelReader(smollm2, question) as reader:
        draft = reader.draft((), place.visible(()), 4, 1)
        reader.draft(draft.tokens, place.visible(()), 2, 1)
        # what is visible but its last token, then one a step
        assert fed == [n_seen - 1, 1, 1, 1, 1, 1, 1]
        fed.clear()
        reader.look(tokens[:2])
        reader.look(tokens)
        assert sum(fed) == len(question.token_ids) + len(tokens)


def test_oracle_heads_are_those_of_the_tracer(smollm2, question):
    trace = rl.RetrievalTracer(smollm2).trace(question, max_new_tokens=4)
    with ModelReader(smollm2, question) as reader:
        place = context_of(question, smollm2.tokenizer)
        for step in (0, 3):
            generated = tuple(trace.tokens[:step].tolist())
            request = Request(reader, place, generated, 0, 0, Settings())
            assert request.look().predicted == int(trace.tokens[step])
            theirs = trace.scores["reasoning"][step]
            ours = OracleDynamic().scores(request)
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
            best = theirs.flatten().sort(descending=True, stable=True).indices[:5]
            heads = OracleDynamic().windows(request).heads
            assert heads is not None and list(heads) == [divmod(i, 9) for i in best.tolist()]


def test_dynamic_uses_the_probe_on_the_hidden_state_of_this_position(smollm2, question):
    examples = [rl.needle_example(smollm2.tokenizer, 40, seed=seed) for seed in range(3)]
    tracer = rl.RetrievalTracer(smollm2)
    traces = [tracer.trace(one, max_new_tokens=4) for one in examples]
    probe = rl.analysis.train_probe(traces, "regressor", "reasoning", widths=[8], epochs=2)
    settings = Settings(rind=ALWAYS, max_tokens=8, draft_tokens=8)
    found = answer(smollm2, question, rl.rag.Dynamic(probe, k=3), settings)
    (one, *_) = found.rounds
    hidden = tracer.trace(question, max_new_tokens=1).hidden[0]
    assert one.hit and [tuple(head) for head in probe.top_heads(hidden, 3)] == list(one.heads)
    assert found.provenance["strategy"]["probe"]["hidden_at"] == "ln_final.hook_out"
    with pytest.raises(rl.errors.InputError, match="trained or validated"):
        answer(smollm2, examples[0], rl.rag.Dynamic(probe), settings)


def test_same_seed_same_answer_and_another_other_heads(smollm2, question, tmp_path):
    settings = Settings(rind=ALWAYS, max_tokens=6, draft_tokens=6)
    first, again, other = (
        answer(smollm2, question, DynamicRandom(), settings, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again and first.rounds[0].heads != other.rounds[0].heads
    assert first.metrics["n_retrievals"] > 0 and 0 < first.metrics["revealed_share"] <= 1
    assert rl.rag.Answer.load(first.save(tmp_path / "a.json")) == first


def test_threshold_that_half_of_the_drafts_pass(smollm2, questions):
    settings = Settings(max_tokens=12, draft_tokens=12)
    found = calibrate_threshold(smollm2, questions, 0.5, settings, progress=False)
    assert found.rind.threshold == sorted(found.largest)[1] and found.realised == 1 / 3
    assert found.example_ids == tuple(one.id for one in questions)
    with pytest.raises(rl.errors.InputError, match="threshold was chosen"):
        answer(smollm2, questions[0], GoldSpans(), found.settings(settings))
    judged = replace(found.settings(settings), allow_overlap=True)
    rounds = [answer(smollm2, one, GoldSpans(), judged).rounds[0] for one in questions]
    assert [one.hit is not None for one in rounds] == [
        score > found.rind.threshold for score in found.largest
    ]
