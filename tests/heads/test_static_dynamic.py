import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import retrieval_lens as rl
from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.heads import CleanStep, Dynamic, Fixed, HeadSet, Scheduled, as_step_heads
from retrieval_lens.heads.step_heads import strongest

ANSWER = 7  # the token of every step, and of the evidence at position 2
MASSES = "masses(n_sink=4, n_local=32)"


def made_trace(copying, reasoning=None, weights=None, masses=None, id="a", model="m"):
    """A trace whose copy-paste scores are `copying` `[step, layer, head]`, 0 or 1."""
    copying = torch.as_tensor(copying).float()
    n_steps = len(copying)
    reasoning = copying / 2 if reasoning is None else torch.as_tensor(reasoning).float()
    masses = torch.zeros_like(copying) if masses is None else torch.as_tensor(masses).float()
    weights = torch.zeros_like(copying) if weights is None else torch.as_tensor(weights).float()
    return rl.Trace(
        token_ids=torch.tensor([3, 4, ANSWER, 5]),
        prompt_str_tokens=("a", "b", "c", "d"),
        evidence=torch.tensor([2]),
        tokens=torch.full((n_steps,), ANSWER),
        str_tokens=("c",) * n_steps,
        text="c" * n_steps,
        truncated=False,
        scores={"copy_paste": copying, "reasoning": reasoning},
        chance={"reasoning": torch.full((n_steps,), 0.05)},
        thresholds={
            "copy_paste": torch.full((n_steps,), 0.5),
            "reasoning": torch.full((n_steps,), 0.1),
        },
        observed={
            "argmax_position": 2 * copying.unsqueeze(-1),  # the evidence, or the first token
            MASSES: torch.stack([masses, 0 * masses, 0 * masses, 0 * masses + 1], dim=-1),
        },
        channels={
            "argmax_position": ("argmax_position",),
            MASSES: ("evidence", "sink", "local", "denominator"),
        },
        hiddens={},
        top_positions=(2 * copying).long().unsqueeze(-1),
        top_weights=weights.unsqueeze(-1),
        provenance={
            "example": {"id": id},
            "model": {"name": model},
            "scores": {"copy_paste": {"class": "CopyPaste", "match": "token"}},
        },
    )


def clean_step(active, scores=None, weights=None, masses=None, index=0, id="a", trace=None):
    """A step by hand; what is not given is 0."""
    active = torch.as_tensor(active).bool()
    zeros = torch.zeros(active.shape)
    given = [zeros if x is None else torch.as_tensor(x).float() for x in (scores, weights, masses)]
    return CleanStep(index, id, active, *given, trace=trace)


A = made_trace([[[1, 0], [1, 1]], [[1, 0], [0, 1]]], id="a")
B = made_trace([[[1, 0], [0, 1]]], id="b")


def test_static_heads_by_hand():
    """Over three steps: L0H0 3/3, L1H1 3/3, L1H0 1/3, L0H1 0; every step counts alike."""
    ranked = rl.static_heads([A, B], k=None)
    assert list(ranked) == [(0, 0), (1, 1), (1, 0), (0, 1)]  # a tie goes to the lower layer
    assert ranked.scores == pytest.approx([1, 1, 1 / 3, 0])
    assert rl.static_heads([A, B], k=2) == {(0, 0), (1, 1)}
    assert len(rl.static_heads([A, B], k=np.int64(3))) == 3


def test_the_record_of_static_heads():
    ranked = rl.static_heads([A, B], k=3)
    assert ranked.example_ids == ("a", "b")
    record = ranked.provenance
    assert record["detector"] == "mean copy_paste over steps"
    assert (record["k"], record["n_steps"], record["model"]) == (3, 3, {"name": "m"})
    assert record["score"] == {"class": "CopyPaste", "match": "token"}
    by_object = rl.static_heads([A, B], k=3, score=rl.CopyPaste(match="position"))
    assert by_object.provenance["score"]["match"] == "position"
    with pytest.raises(InputError, match="chosen on example 'b'"):
        ranked.require_unseen(["b", "c"])


def test_ties_go_to_the_lower_layer_then_the_lower_head():
    ranked = rl.static_heads([made_trace(torch.ones(3, 30, 9))], k=None)
    assert list(ranked) == [(layer, head) for layer in range(30) for head in range(9)]


def test_static_heads_equal_a_mean_of_numpy():
    random = np.random.default_rng(5)
    steps = [random.random((n, 4, 5), dtype=np.float32) for n in (3, 1, 6)]
    traces = [made_trace(np.ones_like(s), reasoning=s, id=str(i)) for i, s in enumerate(steps)]
    mean = np.concatenate(steps).astype(np.float64).mean(0)
    order = np.argsort(-mean, axis=None, kind="stable")
    ranked = rl.static_heads(traces, k=None, score="reasoning")
    assert [layer * 5 + head for layer, head in ranked] == order.tolist()
    np.testing.assert_allclose(ranked.scores or (), mean.flatten()[order], rtol=1e-12)


def test_what_static_heads_refuse():
    with pytest.raises(InputError, match="at least one trace"):
        rl.static_heads([])
    with pytest.raises(InputError, match="different models: .*'m', 'n'"):
        rl.static_heads([A, made_trace([[[1, 0], [0, 1]]], model="n")])
    with pytest.raises(InputError, match="different models"):
        rl.static_heads([A, made_trace([[[1, 0]]])])
    for k in (0, -1, 5):
        with pytest.raises(InputError, match=rf"k must be in 1..4.*got {k}"):
            rl.static_heads([A], k=k)
    with pytest.raises(UnknownNameError, match="no score 'lift'"):
        rl.static_heads([A], score="lift")
    unknown = made_trace([[[1, 0], [0, 1]]], reasoning=[[[float("nan"), 0], [0, 1]]])
    with pytest.raises(InputError, match="NaN"):
        rl.static_heads([A, unknown], k=2, score="reasoning")
    assert rl.static_heads(A, k=4) == rl.static_heads([A], k=4)


def test_dynamic_heads_by_hand():
    steps = rl.dynamic_heads(A)
    assert [list(step) for step in steps] == [[(0, 0), (1, 0), (1, 1)], [(0, 0), (1, 1)]]
    assert [step.provenance["step"] for step in steps] == [0, 1]
    assert steps[0].provenance["example"] == "a"
    for step in steps:
        step.require_unseen(["a"])  # they belong to their example


def test_dynamic_heads_by_another_score_are_ordered_by_it():
    trace = made_trace(torch.ones(1, 2, 2), reasoning=[[[0.2, 0.1], [0.9, 0.2]]])
    (step,) = rl.dynamic_heads(trace, "reasoning")
    assert list(step) == [(1, 0), (0, 0), (1, 1)]  # 0.1 is not above 0.1
    assert [list(s) for s in rl.dynamic_heads(trace, "reasoning", k=2)] == [[(1, 0), (0, 0)]]
    assert rl.dynamic_heads(trace, "reasoning", k=0) == [HeadSet()]
    with pytest.raises(InputError, match="k must not be negative; got -1"):
        rl.dynamic_heads(trace, k=-1)
    with pytest.raises(UnknownNameError):
        rl.dynamic_heads(trace, "lift")


def test_equal_scores_of_a_step_go_by_attention():
    weights = [[[0.2, 0.9], [0.5, 0.5]]]
    (step,) = rl.dynamic_heads(made_trace([[[1, 0], [1, 1]]], weights=weights))
    assert list(step) == [(1, 0), (1, 1), (0, 0)]
    trace = made_trace(torch.ones(1, 2, 2), [[[0.9, 0.5], [0.5, 0]]], weights=weights)
    assert [list(s) for s in rl.dynamic_heads(trace, "reasoning", k=2)] == [[(0, 0), (0, 1)]]


def test_many_equal_heads_of_a_step_stand_by_layer_and_head():
    (step,) = rl.dynamic_heads(made_trace(torch.ones(1, 30, 9)))
    assert list(step) == [(layer, head) for layer in range(30) for head in range(9)]


def test_an_empty_step_has_an_empty_set():
    assert rl.dynamic_heads(made_trace(torch.zeros(2, 1, 2))) == [HeadSet(), HeadSet()]


ACTIVE = [[1, 1, 0], [1, 0, 1]]  # L0H0 L0H1 L1H0 L1H2


def test_all_dynamic_heads():
    assert list(Dynamic().select(clean_step(ACTIVE))) == [(0, 0), (0, 1), (1, 0), (1, 2)]


def test_the_strongest_attend_most():
    step = clean_step(ACTIVE, scores=ACTIVE, weights=[[0.2, 0.4, 0.9], [0.3, 0.8, 0.1]])
    for k, heads in enumerate([[], [(0, 1)], [(0, 1), (1, 0)], [(0, 1), (1, 0), (0, 0)]]):
        assert list(Dynamic(k=k).select(step)) == heads
    assert len(Dynamic(k=9).select(step)) == 4  # fewer than k are active: all of them


def test_ties_go_to_the_static_ranking_then_to_layer_and_head():
    step = clean_step(ACTIVE, weights=[[0.2, 0.2, 0.2], [0.2, 0.2, 0.5]])
    assert list(Dynamic(k=3).select(step)) == [(1, 2), (0, 0), (0, 1)]
    ties = HeadSet(["L1H1", "L1H0", "L0H1"])
    assert list(Dynamic(k=4, ties=ties).select(step)) == [(1, 2), (1, 0), (0, 1), (0, 0)]
    assert Dynamic(k=4, ties=ties).sets() == (ties,)


def test_by_the_reasoning_score_the_score_decides():
    scores = [[0.2, 0.4, 0.9], [0.6, 0.8, 0.3]]
    step = clean_step(ACTIVE, scores=scores, weights=[[0.9, 0.1, 0.1], [0.1, 0.1, 0.8]])
    assert list(Dynamic(k=2, score=rl.Reasoning()).select(step)) == [(1, 0), (0, 1)]
    assert list(Dynamic(k=2).select(step)) == [(0, 0), (1, 2)]


def test_a_negative_k():
    with pytest.raises(InputError, match="k must not be negative; got -1"):
        Dynamic(k=-1)


@given(st.integers(0, 2**31), st.integers(0, 12))
def test_the_strongest_equal_a_sort_of_tuples(seed, k):
    generator = torch.Generator().manual_seed(seed)
    active = torch.rand(3, 4, generator=generator) < 0.5
    keys = [torch.randint(0, 3, (3, 4), generator=generator).float() for _ in range(2)]
    heads = [(i, j) for i in range(3) for j in range(4) if active[i, j]]
    heads.sort(key=lambda head: (-float(keys[0][head]), -float(keys[1][head]), head))
    assert list(strongest(active, keys, k)) == heads[:k]


def test_what_may_stand_for_the_heads_of_a_step():
    one, two = HeadSet(["L0H0"]), HeadSet(["L1H1", "L0H1"])
    step = clean_step(ACTIVE)
    strategy = Dynamic()
    assert as_step_heads(strategy) is strategy
    assert as_step_heads(None).select(step) == HeadSet()
    assert as_step_heads(two).select(step) is two
    assert as_step_heads(["L1H1", (0, 1)]).select(step) == two
    assert as_step_heads([]).select(step) == HeadSet()
    assert as_step_heads(two).sets() == (two,)
    scheduled = as_step_heads([one, two])
    assert isinstance(scheduled, Scheduled)
    assert scheduled.sets() == (one, two)
    assert [scheduled.select(clean_step(ACTIVE, index=t)) for t in (0, 1)] == [one, two]
    assert scheduled.select(clean_step(ACTIVE, index=2)) == HeadSet()
    for wrong in ("L0H0", 3, {"L0H0": 1}):
        with pytest.raises(InputError, match="heads is a HeadSet"):
            as_step_heads(wrong)
    with pytest.raises(InputError):
        as_step_heads([one, "L0H0"])


def test_the_record_of_a_strategy():
    static = HeadSet(["L0H1"], [0.5], example_ids=["x"])
    assert Dynamic(k=3, ties=static).parameters() == {
        "class": "Dynamic",
        "k": 3,
        "score": rl.CopyPaste().parameters(),
        "ties": static.as_json(),
    }
    assert Fixed(static).parameters() == {"class": "Fixed", "heads": static.as_json()}
    steps = as_step_heads([static, HeadSet()]).parameters()
    assert steps == {"class": "Scheduled", "steps": [[[0, 1]], []]}
