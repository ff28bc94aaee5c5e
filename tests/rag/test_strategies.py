"""Strategies on a scripted look: which heads, which windows, and what is refused."""

from dataclasses import replace

import pytest
import torch

from retrieval_lens.analysis.probes import train_probe
from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.heads import HeadSet
from retrieval_lens.models import model_info
from retrieval_lens.rag import (
    BM25,
    STRATEGIES,
    Dynamic,
    DynamicRandom,
    FixedRandom,
    FullContext,
    GoldSpans,
    NoContext,
    OracleDynamic,
    RandomWindows,
    Request,
    Settings,
    Static,
    Strategy,
    context_of,
    register_strategy,
    run,
    strategy_named,
)
from tests.analysis.probes.synthetic import D_MODEL, SMALL, corpus
from tests.rag.fake_reader import FIRST, HOOK, TOKENIZER, FakeReader, Scripted, example, ids
from tests.tiny_models import tiny_bridge

# head (0, 1) looks at 40, 44 and 80; head (1, 2) at 41 and at the evidence, 14
PEAKS = {(0, 1): {40: 0.5, 44: 0.3, 80: 0.2}, (1, 2): {41: 0.25, 14: 0.75}, (1, 0): {0: 1.0}}
NARROW = Settings(n_positions=3, gap=4, radius=2)


def request(generated="", round=0, seed=0, settings=NARROW, of=None, **reader):
    one = FakeReader([], **{"peaks": PEAKS, **reader})
    where = context_of(of or example(), TOKENIZER)
    return Request(one, where, ids(generated) if generated else (), round, seed, settings)


@pytest.fixture(scope="module")
def probe():
    found = corpus(8, 6, labels=False)
    for one in found:
        one.meta.update(hidden_at=HOOK, score="reasoning")
    return train_probe(found, "regressor", "reasoning", **SMALL)


def test_rows_of_the_heads_are_averaged_and_windows_cut_from_them():
    heads = HeadSet([(0, 1), (1, 2), (0, 0)])
    found = Static(heads, k=2).windows(request())
    # means: 14 .375, 40 .25, 44 .15, 41 .125, 80 .1; 40 and 44 are one cluster
    assert found.positions == (14, 40, 44) and found.clusters == ((14,), (40, 44))
    assert found.windows == ((12, 17), (38, 43)) and found.n_tokens == 10
    assert list(found.heads) == [(0, 1), (1, 2)]
    alone = Static(heads, k=1).windows(request())
    assert alone.positions == (40, 44, 80) and alone.windows == ((38, 43), (78, 83))


def test_heads_that_agree_outweigh_one_strong_head():
    peaks = {(0, 0): {40: 0.5, 50: 0.3}, (1, 1): {60: 0.45, 50: 0.3}}
    found = Static(HeadSet(peaks), k=2).windows(request(peaks=peaks))
    assert found.positions == (50, 40, 60)  # means .3, .25, .225


def test_the_context_alone_is_searched():
    found = Static(HeadSet([(1, 0)]), k=1).windows(request())
    assert found.positions == (FIRST, FIRST + 1, FIRST + 2)  # its peak is outside


def test_oracle_takes_the_heads_of_largest_reasoning_score():
    one = OracleDynamic(k=2)
    scores = one.scores(request())
    expected = torch.zeros(2, 3)
    expected[1, 2] = 0.75  # (0, 1) never looks at the evidence; (1, 0) looks at the sink
    torch.testing.assert_close(scores, expected)
    found = one.windows(request())
    assert list(found.heads) == [(1, 2), (0, 0)] and found.heads.scores == (0.75, 0)
    assert found.positions[:2] == (14, 41) and found.heads.example_ids == ("fake",)


def test_dynamic_takes_the_heads_of_the_probe(probe):
    for seed in (0, 1):
        hidden = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(seed))
        found = Dynamic(probe, k=3).windows(request(hidden=hidden))
        predicted = probe.predict(hidden).flatten()
        best = [divmod(i, 3) for i in predicted.argsort(descending=True)[:3].tolist()]
        assert list(found.heads) == best
    assert Dynamic(probe).hidden_at == (HOOK,) == BM25(Dynamic(probe)).hidden_at
    about = Dynamic(probe, k=3).parameters()
    assert (about["name"], about["k"], about["probe"]["hidden_at"]) == ("dynamic", 3, HOOK)


def drawn(strategy, **options):
    return list(strategy.windows(request(**options)).heads)


def test_dynamic_random_draws_anew_and_by_the_seed():
    one = DynamicRandom(k=3)
    assert drawn(one) == drawn(one) and len(set(drawn(one))) == 3
    rounds = {tuple(drawn(one, round=i)) for i in range(8)}
    assert len(rounds) > 4
    assert len({tuple(drawn(one, seed=i)) for i in range(8)}) > 4
    assert len({tuple(drawn(one, of=example(id=str(i)))) for i in range(8)}) > 4


def test_fixed_random_keeps_its_heads_for_an_answer():
    one = FixedRandom(k=3)
    assert len({tuple(drawn(one, round=i, generated="and so")) for i in range(8)}) == 1
    assert len({tuple(drawn(one, seed=i)) for i in range(8)}) > 4
    assert len({tuple(drawn(one, of=example(id=str(i)))) for i in range(8)}) > 4


def test_gold_spans_full_and_no_context():
    gold = request(of=example(["w12 w13", "w50"]))
    assert GoldSpans().windows(gold).windows == ((14, 16), (52, 53))
    assert FullContext().windows(gold).windows == ((FIRST, FIRST + 100),)
    assert NoContext().windows(gold).windows == ()


def test_budgets_are_those_of_the_other_strategy():
    like = Scripted((((10, 15), (40, 47)),) * 20)
    bm25 = BM25(like).windows(request(of=example(question="what is w55 w56")))
    assert bm25.windows == ((2, 4), (52, 62))  # the sentence of w50 to w59, then by the order
    assert BM25(like).windows(request("the answer is")).n_tokens == 12
    # what is generated is part of the query
    told = request(of=example(question="what"))
    object.__setattr__(told, "generated", ids("w71 w72"))
    assert (72, 82) in BM25(like).windows(told).windows
    found = [RandomWindows(like).windows(request(round=i)) for i in range(6)]
    assert {tuple(sorted(b - a for a, b in one.windows)) for one in found} == {(5, 7)}
    assert len({one.windows for one in found}) > 3
    again = RandomWindows(like).windows(request(round=0))
    assert again.windows == found[0].windows
    assert RandomWindows(like).windows(request(seed=1)).windows != found[0].windows


def test_budgets_follow_every_round():
    like = OracleDynamic(k=1)
    reader = FakeReader(["Rain FELL.", "Gulls cried.", "Bread is CHEAP. |", "Rain fell. |"], PEAKS)
    found = run(reader, example(), RandomWindows(like), NARROW)
    assert [one.windows is not None for one in found.rounds] == [True, True]
    wanted = like.windows(request()).n_tokens
    assert {sum(b - a for a, b in one.windows) for one in found.rounds} == {wanted}
    assert [call[1] for call in reader.calls if call[0] == "look"] == ["", "Gulls cried."]


def test_the_trail_names_heads_and_positions():
    reader = FakeReader(["Rain FELL.", "Gulls cried. |"], PEAKS)
    (one,) = run(reader, example(), OracleDynamic(k=1), NARROW).rounds
    assert one.heads == ((1, 2),) and one.positions[:2] == (14, 41)
    assert one.windows[1] == (12, 17) and one.clusters[1] == (14,)


def test_registry():
    assert len(STRATEGIES) == 10 and strategy_named("dynamic") is Dynamic
    with pytest.raises(UnknownNameError, match="known: bm25, dynamic"):
        strategy_named("nope")
    with pytest.raises(InputError, match="already"):
        register_strategy(type("Again", (Strategy,), {"name": "bm25"}))
    with pytest.raises(InputError, match="needs a name"):
        register_strategy(type("Nameless", (Strategy,), {}))
    assert len(STRATEGIES) == 10


@pytest.fixture(scope="module")
def model():
    return tiny_bridge("llama-gqa")


def test_heads_of_another_model_or_of_this_example_are_refused(model):
    def require(heads, **options):
        Static(HeadSet(*heads, **options), k=1).require(model, example())

    require([[(0, 1)]], example_ids=["another"])
    with pytest.raises(InputError, match="chosen on example 'fake'"):
        require([[(0, 1)]], example_ids=["fake"])
    Static(HeadSet([(0, 1)], example_ids=["fake"]), 1, allow_overlap=True).require(model, example())
    with pytest.raises(InputError, match="out of range"):
        require([[(0, 1), (3, 0)]])
    with pytest.raises(InputError, match="with name 'another'"):
        require([[(0, 1)]], provenance={"model": {"name": "another"}})
    require([[(0, 1)]], provenance={"model": model_info(model)})


def test_the_probe_of_another_model_or_of_this_example_is_refused(model, probe):
    with pytest.raises(InputError, match="of another model"):
        Dynamic(probe).require(model, example())
    with pytest.raises(InputError, match="of another model"):
        BM25(Dynamic(probe)).require(model, example())
    fitting = replace(probe, provenance={**probe.provenance, "seen_groups": ["question q1"]})
    object.__setattr__(fitting, "require_model", lambda model: None)
    one = Dynamic(fitting)
    one.require(model, example())
    other_layout = example(id=f"{probe.seen_ids[0]}@shuffled")
    named = example(id=probe.seen_ids[0])
    for seen in (named, other_layout, example(meta={"question_id": "q1"})):
        with pytest.raises(InputError, match="trained or validated"):
            one.require(model, seen)
        Dynamic(fitting, allow_overlap=True).require(model, seen)


@pytest.mark.parametrize("strategy", [DynamicRandom, FixedRandom, OracleDynamic])
def test_more_heads_than_the_model_has(strategy, model):
    strategy(k=12).require(model, example())
    with pytest.raises(InputError, match="has 12 heads"):
        RandomWindows(strategy(k=13)).require(model, example())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda probe: Dynamic("a probe"), "wants a probe"),
        (lambda probe: Dynamic(probe, k=0), "k is a whole number from 1"),
        (lambda probe: Dynamic(probe, k=7), "has 6 heads"),
        (lambda probe: Static([(0, 1)]), "wants a HeadSet"),
        (lambda probe: Static(HeadSet([(0, 1)]), k=2), "ranking has 1 heads"),
        (lambda probe: DynamicRandom(k=1.5), "k is a whole number"),
        (lambda probe: FixedRandom(k=True), "k is a whole number"),
        (lambda probe: OracleDynamic(k=0), "k is a whole number"),
        (lambda probe: OracleDynamic(score="reasoning"), "step score"),
        (lambda probe: BM25(NoContext()), "strategy that retrieves"),
        (lambda probe: RandomWindows("dynamic"), "strategy that retrieves"),
        (lambda probe: OracleDynamic(k=7).windows(request()), "has 6 heads"),
        (lambda probe: DynamicRandom(k=7).windows(request()), "k must be in 0..6"),
        (lambda probe: Static(HeadSet([(2, 0)]), k=1).windows(request()), "out of range"),
    ],
)
def test_bad_strategies(probe, make, message):
    with pytest.raises(InputError, match=message):
        make(probe)


def test_probes_that_do_not_fit():
    with pytest.raises(InputError, match="classifier"):
        Dynamic(train_probe(corpus(8, 6), "classifier", "copy_paste", **SMALL))
    with pytest.raises(InputError, match="those 2 steps later; train one with offset=0"):
        Dynamic(train_probe(corpus(8, 6), "regressor", "copy_paste", offset=2, **SMALL))
    silent = train_probe(corpus(8, 6, labels=False), "regressor", "copy_paste", **SMALL)
    with pytest.raises(InputError, match="which hidden state"):
        Dynamic(silent)
