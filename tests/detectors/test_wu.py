import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.detectors import ScoreMean, Wu
from retrieval_lens.detectors.wu import rouge1_recall
from retrieval_lens.errors import InputError
from tests.detectors.made import example, trace

# One layer of three heads. Needle 1 2 1 3 at positions 1..4; the response is 1 2 1 3.
# Head 0 hits at every step: 4/4. Head 1 hits at steps 0 and 2 (5 is outside the needle, 2 holds
# another token): 2/4. Head 2 looks at the right token of the response at step 2, never at the
# needle: 0.
COPIED = [[[1, 3, 0]], [[2, 5, 0]], [[3, 1, 6]], [[4, 2, 0]]]
# The response is 1 1 1 1 1: head 0 hits five times, 5/4; head 1 once, 1/4; head 2 never.
REPEATED = [[[1, 1, 0]], [[1, 2, 0]], [[3, 2, 0]], [[1, 0, 0]], [[3, 4, 0]]]


def two_examples():
    first, second = example("a"), example("b")
    return [first, second], [
        trace(first, [1, 2, 1, 3], COPIED, "one two one three"),
        trace(second, [1, 1, 1, 1, 1], REPEATED, "one one two"),  # recall 3/4
    ]


def test_a_case_worked_by_hand():
    examples, traces = two_examples()
    found = Wu().from_traces(traces, examples)
    assert found.totals.tolist() == [[[1.0, 0.5, 0.0]], [[1.25, 0.25, 0.0]]]
    assert found.scores.tolist() == [[1.125, 0.375, 0.0]]
    assert found.share == 2 / 3 and found.threshold == 0.1
    assert found.details == {"rouge1_recall": [1.0, 0.75], "truncated": [0.0, 0.0]}
    assert found.example_ids == ("a", "b") and found.used == [0, 1]


def test_only_examples_above_the_gate_count():
    examples, traces = two_examples()
    third = example("c")
    examples.append(third)
    # two of four words: recall 0.5 is not above 0.5
    traces.append(trace(third, [1, 2], [[[1, 1, 1]], [[2, 2, 2]]], "two one"))
    found = Wu().from_traces(traces, examples)
    assert found.weights.tolist() == [1.0, 1.0, 0.0] and found.used == [0, 1]
    assert found.scores.tolist() == [[1.125, 0.375, 0.0]]
    assert (found.n_samples, len(found.used)) == (3, 2)
    # its id stays: it was looked at when it was left out
    assert found.heads(1).example_ids == ("a", "b", "c")
    all_in = Wu(min_recall=0.4).from_traces(traces, examples)
    assert all_in.scores.tolist() == [[(1 + 1.25 + 0.5) / 3, (0.5 + 0.25 + 0.5) / 3, 0.5 / 3]]


def test_no_example_above_the_gate():
    one = example()
    made = trace(one, [1], [[[1, 1]]], "two", truncated=True)
    with pytest.raises(InputError, match=r"all 1 examples failed Wu's gate.*best is 0\.25, and 1 "):
        Wu().from_traces([made], [one])


def test_recall_counts_the_words_of_the_needle_and_is_stemmed():
    assert rouge1_recall("cats running home", "The cat runs") == pytest.approx(2 / 3)
    assert rouge1_recall("one two", "one two three four five six") == 1.0
    assert rouge1_recall("one two three four", "one one one") == 0.25
    assert rouge1_recall("3f2a-9c1e", "It is 3F2A.") == 0.5
    assert rouge1_recall("…", "anything") == 0.0


def test_the_needle_of_the_gate_is_the_text_and_not_its_tokens():
    """Tokens that overlap the needle's characters may hold more, and no spaces between words."""
    one = example(needle="one two one three")
    made = trace(one, [1], [[[1]]], "one two three")
    assert set(made.prompt_str_tokens) == {"?"}
    assert Wu().from_traces([made], [one]).details["rouge1_recall"] == [0.75]


def test_mean_of_a_score_pools_steps_and_equals_static_heads():
    examples, traces = two_examples()
    found = ScoreMean().from_traces(traces, examples)
    assert found.totals.tolist() == [[[4.0, 2.0, 0.0]], [[5.0, 1.0, 0.0]]]
    assert found.weights.tolist() == [4.0, 5.0]
    assert found.scores.tolist() == [[1.0, 3 / 9, 0.0]]
    static = rl.static_heads(traces, k=None)
    assert found.heads().heads == static.heads and found.heads().scores == static.scores
    assert found.detector["name"] == static.provenance["detector"]
    assert found.detector["score"] == rl.CopyPaste().parameters()


def test_another_reading_needs_no_new_trace():
    examples, traces = two_examples()
    found = ScoreMean(rl.CopyPaste(match="position")).from_traces(traces, examples)
    static = rl.static_heads(traces, k=None, score=rl.CopyPaste(match="position"))
    assert found.heads().heads == static.heads and found.heads().scores == static.scores
    # at step 2 of the first response head 1 looks at the wrong "1"
    assert found.totals.tolist() == [[[4.0, 1.0, 0.0]], [[5.0, 1.0, 0.0]]]
    with pytest.raises(InputError, match="this trace observed"):
        ScoreMean(rl.Reasoning()).from_traces(traces, examples)


def test_traces_must_be_those_of_the_examples():
    examples, traces = two_examples()
    found = Wu()
    with pytest.raises(InputError, match="1 traces for 2 examples"):
        found.from_traces(traces[0], examples)
    with pytest.raises(InputError, match="'b' is not what was traced: prompt or evidence differ"):
        found.from_traces(traces, [examples[0], example("b", ids=[9, 1, 2, 2, 3, 9])])
    with pytest.raises(InputError, match="is not what was traced"):
        found.from_traces(traces, [examples[0], example("b", evidence=(1, 2, 3))])
    with pytest.raises(InputError, match="two examples have the id 'a'"):
        found.from_traces(traces, [examples[0], example("a")])
    with pytest.raises(InputError, match="at least one example"):
        found.from_traces([], [])
    with pytest.raises(InputError, match="examples are RetrievalExamples, not str"):
        found.from_traces(traces, ["a", "b"])
    other = trace(examples[1], [1, 2], [[[1, 1, 1]], [[1, 1, 1]]], "one two one", model="other")
    with pytest.raises(InputError, match=r"different models: \['made', 'other'\]"):
        found.from_traces([traces[0], other], examples)
    wider = trace(examples[1], [1], [[[1, 1, 1, 1]]], "one two one")
    with pytest.raises(InputError, match="different models"):
        found.from_traces([traces[0], wider], examples)


@pytest.mark.parametrize("make", [lambda: Wu(1.0), lambda: Wu(-0.1), lambda: Wu(float("nan"))])
def test_wrong_gates(make):
    with pytest.raises(InputError, match="wanted 0 <= min_recall < 1"):
        make()


def test_wrong_thresholds_and_scores():
    for threshold in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="threshold"):
            Wu(threshold=threshold)
        with pytest.raises(InputError, match="threshold must be above 0"):
            ScoreMean(threshold=threshold)
    with pytest.raises(InputError, match="score is an object such as CopyPaste"):
        ScoreMean("copy_paste")


def test_a_detector_of_ones_own():
    """One that is no trace detector: it sees the model and the examples, and nothing else."""

    class Depth(rl.detectors.HeadDetector):
        name, threshold = "depth", 0.5

        def detect(self, model, examples, *, max_new_tokens=64, batch_size=8, progress=True):
            totals = torch.arange(model, dtype=torch.float64).view(1, model, 1)
            totals = totals.expand(len(examples), model, 2).clone()
            ids = tuple(example.id for example in examples)
            weights = torch.ones(len(ids), dtype=torch.float64)
            return rl.detectors.Detection(totals, weights, ids, self.parameters(), self.threshold)

    found = rl.detectors.detect(3, [example("a"), example("b")], Depth())
    assert str(found.heads(3)) == "L2H0 L2H1 L1H0" and found.share == 4 / 6
    assert found.heads(1).provenance["parameters"] == {"class": "Depth", "name": "depth"}
