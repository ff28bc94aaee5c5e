"""What goes into the analysis, and what is refused."""

import dataclasses

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.analysis import StepSets, dynamism, step_sets, unique_heads_curve
from retrieval_lens.errors import InputError, NumericalError, UnknownNameError
from retrieval_lens.heads import HeadSet
from tests.analysis.by_hand import sets, value
from tests.tiny_models import tiny_bridge


@pytest.fixture(scope="module")
def traces():
    bridge = tiny_bridge("llama-gqa")
    tracer = rl.RetrievalTracer(bridge)
    examples = [
        rl.RetrievalExample(
            name, "", torch.randint(2, 60, (50,)), torch.arange(10, 20), (), meta={"haystack": "x"}
        )
        for name in ("one", "two")
    ]
    return [tracer.trace(example, max_new_tokens=5) for example in examples]


def test_a_trace_gives_its_active_heads_and_its_example(traces):
    found = step_sets(traces[0], "reasoning")
    assert torch.equal(found.active, traces[0].active("reasoning"))
    assert torch.equal(found.scores, traces[0].scores["reasoning"])
    assert torch.equal(found.tokens, traces[0].tokens)
    assert found.example_id == traces[0].provenance["example"]["id"]
    assert found.meta["haystack"] == "x"
    assert found.meta["score"] == "reasoning" and "model" in found.meta


def test_traces_and_sets_may_be_mixed(traces):
    frame = dynamism(
        [traces[0], step_sets(traces[1], "reasoning")], score="reasoning", n_resamples=5
    )
    active = torch.cat([trace.active("reasoning") for trace in traces])
    assert value(frame, "mean_active", empty="count") == pytest.approx(
        float(active.sum((1, 2)).double().mean())
    )
    assert frame.equals(dynamism(traces, score="reasoning", n_resamples=5))


def test_a_score_object_is_read_from_what_was_observed(traces):
    frame = dynamism(traces, score=rl.Reasoning(floor=0.0, times_chance=0.0), n_resamples=5)
    assert value(frame, "mean_active", empty="count") > 0


def test_sets_of_another_score_are_refused(traces):
    with pytest.raises(InputError, match="different score"):
        dynamism([traces[0], step_sets(traces[1], "copy_paste")], score="reasoning")


def test_a_static_set_of_the_same_examples_is_refused(traces):
    static = rl.static_heads(traces[:1], k=2)
    with pytest.raises(InputError, match="must not be judged"):
        dynamism(traces, static, ks=(2,))
    dynamism(traces[1:], static, ks=(2,), n_resamples=5)


def test_an_unknown_score_is_refused(traces):
    with pytest.raises(UnknownNameError, match="no score 'x'"):
        dynamism(traces, score="x")


@pytest.mark.parametrize("judge", [dynamism, unique_heads_curve])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one"),
        ("text", "wanted traces or StepSets, received str"),
        (3, "received int"),
        ([torch.ones(2, 2, 2)], "received Tensor"),
        ([sets([[0]], "a"), sets([[1]], "a")], "'a' is there more than once"),
        ([sets([[0]], "a"), sets([[0]], "b", shape=(3, 2))], r"\[\(2, 2\), \(3, 2\)\]"),
        ([sets([[0]], "a", model="x"), sets([[0]], "b", model="y")], "different model"),
    ],
)
def test_what_cannot_be_judged_together(judge, given, message):
    with pytest.raises(InputError, match=message):
        judge(given)


def test_parts_that_do_not_fit():
    active = torch.zeros(3, 2, 2, dtype=torch.bool)
    with pytest.raises(InputError, match="at least one step"):
        StepSets(active[:0], "a")
    with pytest.raises(InputError, match="same shape"):
        StepSets(active, "a", scores=torch.zeros(2, 2, 2))
    with pytest.raises(InputError, match="3 steps, but 2 tokens"):
        StepSets(active, "a", tokens=torch.zeros(2, dtype=torch.long))
    with pytest.raises(NumericalError, match="NaN"):
        StepSets(active, "a", scores=torch.full((3, 2, 2), torch.nan))


def test_a_trace_that_names_no_example_is_refused(traces):
    nameless = dataclasses.replace(traces[0], provenance={})
    with pytest.raises(InputError, match="does not name its example"):
        dynamism([nameless])


def test_a_head_set_is_no_trace():
    with pytest.raises(InputError, match="received Head"):
        dynamism(HeadSet([(0, 0)]))
