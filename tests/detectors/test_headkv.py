"""HeadKV-R2: by hand, against plain transformers and plain loops, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import retrieval_lens as rl
from retrieval_lens.detectors import Detection, HeadKV, detect
from retrieval_lens.detectors.headkv import answer_f1
from retrieval_lens.errors import ContextLengthError, InputError
from retrieval_lens.models import checkpoint_folder
from tests.detectors.made import example, trace
from tests.tracing import reference

STEPS = 10


def made(id="a", n_answer=2, text="one two", **changes):
    """Evidence at 1..4, so N = 4; three steps of two heads with five top positions each."""
    one = example(id)
    one = replace(one, answer="one two", meta={"n_answer_tokens": n_answer})
    positions = [
        [[1, 0, 2, 5, 3], [0, 5, -1, -1, -1]],
        [[4, 3, 2, 1, 0], [5, 0, 6, 7, 1]],
        [[1, 2, 3, 4, 0], [1, 2, 3, 4, 0]],
    ]
    weights = [
        [[0.5, 0.25, 0.125, 0.0625, 0.03125], [0.75, 0.25, 0, 0, 0]],
        [[0.25, 0.25, 0.25, 0.125, 0.125], [0.5, 0.25, 0.125, 0.0625, 0.03125]],
        [[0.25, 0.25, 0.25, 0.25, 0.0], [0.25, 0.25, 0.25, 0.25, 0.0]],
    ]
    tops = torch.tensor(positions).unsqueeze(1), torch.tensor(weights).unsqueeze(1)
    base = trace(one, [1, 2, 9], [[[0, 0]]] * 3, text)
    return one, replace(base, top_positions=tops[0], top_weights=tops[1], **changes)


def overlap(response, answer):
    """Share of the answer's words in the response."""
    return sum(word in response.split() for word in answer.split()) / len(answer.split())


GATE = HeadKV(f1=overlap)


# By hand


def test_a_case_worked_by_hand():
    """Of head 0: step 0 has 1 and 2 among its first four (3 is the fifth), step 1 all four.

    Step 2 comes after the answer's two tokens. Head 1 has evidence in its fifth place only.
    """
    one, first = made()
    found = GATE.from_traces([first], [one])
    assert found.totals.tolist() == [[[(0.5 + 0.125 + 0.875) / 4, 0.0]]]
    assert found.details == {
        "f1": [1.0],
        "truncated": [0.0],
        "n_answer_tokens": [2.0],
        "n_steps_read": [2.0],
    }
    # a longer answer reads all three steps, and no more than there are
    longer, second = made("b", n_answer=7)
    both = GATE.from_traces([first, second], [one, longer])
    assert both.totals[1].tolist() == [[(1.5 + 1.0) / 4, 0.25]]
    assert both.scores.tolist() == [[(0.375 + 0.625) / 2, 0.125]]
    assert both.details["n_steps_read"] == [2.0, 3.0] and both.threshold == 0.1
    assert both.share == 1.0 and both.used == [0, 1]


def test_only_answered_examples_count():
    pairs = [made("a"), made("b", text="one"), made("c", text="none")]
    examples, traces = ([pair[i] for pair in pairs] for i in (0, 1))
    found = GATE.from_traces(traces, examples)
    assert found.details["f1"] == [1.0, 0.5, 0.0]  # 0.5 is not above 0.5
    assert found.weights.tolist() == [1, 0, 0] and found.example_ids == ("a", "b", "c")
    assert found.scores.tolist() == [[0.375, 0.0]]
    lower = HeadKV(min_f1=0.4, f1=overlap).from_traces(traces, examples)
    assert lower.weights.tolist() == [1, 1, 0]


def test_no_example_is_answered():
    one, first = made(text="one", truncated=True)
    message = r"all 1 examples failed HeadKV's gate.*above 0\.5, the best is 0\.50, and 1 resp"
    with pytest.raises(InputError, match=message):
        GATE.from_traces([first], [one])


def test_the_gate_is_the_f1_of_question_answering():
    assert answer_f1("The answer is: the Orle Line.\nIt ran daily.", "Orle Line") == 1.0
    assert answer_f1("Orle", "Orle Line") == pytest.approx(2 / 3)
    assert answer_f1("Yes.", "no") == 0.0
    one, first = made(text="The answer is one two.")
    found = HeadKV().from_traces([first], [one])
    assert found.details["f1"] == [1.0]
    assert found.detector["f1"] == "retrieval_lens.detectors.headkv.answer_f1"
    with pytest.raises(InputError, match=r"the best is 0\.00"):
        HeadKV().from_traces([made(text="yes")[1]], [one])


def test_the_best_of_the_accepted_answers_passes_the_gate():
    one, first = made(text="The answer is three four.")
    meta = {**one.meta, "answer_aliases": ["seven", "three four", "five"]}
    assert one.meta["n_answer_tokens"] == 2
    found = HeadKV().from_traces([first], [replace(one, meta=meta)])
    assert found.details["f1"] == [1.0] and found.weights.tolist() == [1]
    assert found.details["n_answer_tokens"] == [2.0]  # of the answer itself
    with pytest.raises(InputError, match=r"the best is 0\.00"):
        HeadKV().from_traces([first], [one])


# Against plain transformers


@pytest.fixture(scope="module")
def examples(smollm2):
    """Answers of a few tokens, shorter than the responses."""
    lengths = (30, 20)
    return [
        rl.needle_example(smollm2.tokenizer, n, seed=i, needle="ticket_number")
        for i, n in enumerate(lengths)
    ]


def headkv_by_hand(hf_model, tokenizer, one):
    """The score from whole attention rows: sort, take N, add what lies in the evidence."""
    run = reference.decode(hf_model, one.token_ids, {2}, STEPS)
    n_answer = len(tokenizer.encode(one.answer, add_special_tokens=False))
    places = one.evidence.tolist()
    score = np.zeros(run.rows[0].shape[:2])
    for row in run.rows[:n_answer]:
        for layer, head in np.ndindex(score.shape):
            order = np.argsort(-row[layer, head], kind="stable")
            for i in order[: len(places)]:
                if i in places:
                    score[layer, head] += row[layer, head, i] / len(places)
    return score, len(run.tokens), n_answer


def test_a_real_model_equals_plain_loops(smollm2, examples):
    folder = checkpoint_folder("smollm2-135m")
    plain = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    everyone = HeadKV(f1=lambda response, answer: 1.0)
    found = detect(smollm2, examples, everyone, max_new_tokens=STEPS, batch_size=1, progress=False)
    for i, one in enumerate(examples):
        expected, n_steps, n_answer = headkv_by_hand(plain, smollm2.tokenizer, one)
        np.testing.assert_allclose(found.totals[i], expected, atol=1e-5)
        assert expected.max() > 0.01 and n_answer < n_steps
        assert found.details["n_answer_tokens"][i] == n_answer
    longest = max(len(one.evidence) for one in examples)
    assert found.conventions["n_top"] == longest > 8
    # traces made before give the same
    tracer = rl.RetrievalTracer(smollm2, n_top=longest)
    trace = tracer.trace(examples[1], STEPS, progress=False)
    again = everyone.from_traces([trace], examples[1:], tokenizer=smollm2.tokenizer)
    assert torch.allclose(again.totals[0], found.totals[1], atol=1e-6)
    with pytest.raises(InputError, match=r"keeps 8 top positions a row, but .* n_top="):
        trace = rl.RetrievalTracer(smollm2).trace(examples[0], 1, progress=False)
        everyone.from_traces([trace], examples[:1], tokenizer=smollm2.tokenizer)


def test_the_same_twice_and_the_record(smollm2, examples, tmp_path):
    detector = HeadKV(min_f1=0.25, threshold=0.02, f1=overlap)
    with pytest.raises(InputError, match="failed HeadKV's gate"):
        detect(smollm2, examples[:1], detector, max_new_tokens=1, progress=False)
    everyone = HeadKV(f1=lambda response, answer: 1.0)
    runs = [
        detect(smollm2, examples[:1], everyone, max_new_tokens=2, progress=False) for _ in range(2)
    ]
    assert torch.equal(runs[0].totals, runs[1].totals)
    assert detector.parameters() == {
        "class": "HeadKV",
        "name": "HeadKV-R2",
        "min_f1": 0.25,
        "threshold": 0.02,
        "f1": "tests.detectors.test_headkv.overlap",
    }
    json.dumps(runs[0].frame().attrs, allow_nan=False)
    loaded = Detection.load(runs[0].save(tmp_path / "kv.json"))
    assert loaded.provenance() == runs[0].provenance()


# What is refused


def test_traces_with_too_few_top_positions():
    one, first = made()
    tops = first.top_positions[..., :3], first.top_weights[..., :3]
    few = replace(first, top_positions=tops[0], top_weights=tops[1])
    with pytest.raises(InputError, match=r"'a' keeps 3 top .*has 4 tokens; .*n_top=4"):
        GATE.from_traces([few], [one])


def test_answers_that_cannot_be_counted(smollm2, examples):
    one, first = made()
    with pytest.raises(InputError, match="number of answer tokens of 'a' is not known"):
        GATE.from_traces([first], [replace(one, meta={})])
    with pytest.raises(InputError, match="number of answer tokens"):
        GATE.from_traces([first], [replace(one, meta={"n_answer_tokens": 0})])
    with pytest.raises(InputError, match="'a' has no answer"):
        GATE.from_traces([first], [replace(one, answer=" ")])
    with pytest.raises(InputError, match="has no answer"):
        detect(smollm2, [replace(examples[0], answer="")], GATE)
    with pytest.raises(ContextLengthError):
        detect(smollm2, examples, GATE, max_new_tokens=9000)


def test_wrong_parameters():
    for wrong in ({"min_f1": 1.0}, {"min_f1": -0.1}, {"threshold": 0}, {"min_f1": float("nan")}):
        with pytest.raises(InputError, match="wanted 0 <= min_f1 < 1 and threshold > 0"):
            HeadKV(**wrong)
    with pytest.raises(InputError, match="f1 is a function of response and answer, not 0.5"):
        HeadKV(f1=0.5)
