"""The real model: every way of tracing against plain transformers."""

from functools import cache

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import retrieval_lens as rl
from retrieval_lens.models import checkpoint_folder
from tests.tracing import reference

SEEDS = range(10)
STEPS = 64
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def hf_model():
    """A second, unwrapped copy of the weights with eager attention."""
    folder = checkpoint_folder("smollm2-135m")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


@pytest.fixture(scope="session")
def case(smollm2, hf_model):
    """Example and reference of a seed, computed once."""

    @cache
    def make(seed):
        example = rl.needle_example(smollm2.tokenizer, n_tokens=200, depth=0.5, seed=seed)
        return example, reference.decode(hf_model, example.token_ids, {2}, STEPS)

    return make


def assert_equals_reference(trace, example, expected):
    prompt, evidence = example.token_ids, example.evidence
    assert trace.tokens.tolist() == expected.tokens
    for match, name in (("token", "copy_paste"), ("position", "copy_paste_position")):
        theirs = reference.copy_paste(expected, prompt, evidence, match)
        np.testing.assert_array_equal(trace.scores[name].numpy(), theirs)
    scores, chance = reference.reasoning(expected, prompt, evidence)
    np.testing.assert_allclose(trace.scores["reasoning"], scores, atol=TOLERANCE)
    np.testing.assert_allclose(trace.chance["reasoning"], chance, rtol=1e-6)
    np.testing.assert_allclose(trace.hidden, expected.hidden, atol=TOLERANCE, rtol=TOLERANCE)
    active = scores > np.maximum(0.1, 2 * chance)[:, None, None]
    np.testing.assert_array_equal(trace.active("reasoning").numpy(), active)
    assert_top_positions(trace, expected)


def assert_top_positions(trace, expected):
    for t, row in enumerate(expected.rows):
        best = np.sort(row, axis=-1)[..., ::-1][..., :8]
        np.testing.assert_allclose(trace.top_weights[t], best, atol=TOLERANCE)
        taken = np.take_along_axis(row, trace.top_positions[t].numpy(), axis=-1)
        np.testing.assert_allclose(taken, best, atol=TOLERANCE)
        first = np.take_along_axis(row, trace.top_positions[t, ..., :1].numpy(), axis=-1)[..., 0]
        assert (row.max(-1) - first).max() < 1e-6  # the arg-max, or equal to it in float32


def tracer(model):
    scores = [rl.CopyPaste(), rl.CopyPaste(match="position"), rl.Reasoning()]
    return rl.RetrievalTracer(model, scores)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_trace_equals_plain_transformers(smollm2, case, seed, engine):
    example, expected = case(seed)
    trace = tracer(smollm2).trace(example, STEPS, engine)
    assert_equals_reference(trace, example, expected)


@pytest.mark.slow
def test_a_batch_gives_the_sets_of_single_runs(smollm2):
    examples = [
        rl.needle_example(smollm2.tokenizer, n_tokens, 0.5, seed)
        for seed, n_tokens in enumerate((200, 90, 200, 150, 260))
    ]
    tracer = rl.RetrievalTracer(smollm2)
    together = tracer.trace_many(examples, batch_size=4, max_new_tokens=40)
    for example, ours in zip(examples, together, strict=True):
        alone = tracer.trace(example, 40)
        assert ours.provenance["example"]["id"] == example.id
        assert ours.tokens.tolist() == alone.tokens.tolist()
        assert ours.text == alone.text and ours.truncated == alone.truncated
        for name in ("copy_paste", "reasoning"):
            assert torch.equal(ours.active(name), alone.active(name))
            torch.testing.assert_close(ours.scores[name], alone.scores[name], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.hidden, alone.hidden, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.top_weights, alone.top_weights, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_shared_start_is_computed_once_and_changes_nothing(smollm2):
    from retrieval_lens.tracing.fast import FastDecoder

    examples = [rl.needle_example(smollm2.tokenizer, 120, 0.7, seed) for seed in range(3)]
    examples.append(examples[1])
    tracer, fed = rl.RetrievalTracer(smollm2), []
    alone = [tracer.trace(example, 12) for example in examples]
    forward = FastDecoder._forward

    def counting(self, token_ids, **extra):
        fed.append(token_ids.shape[1])
        return forward(self, token_ids, **extra)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FastDecoder, "_forward", counting)
        together = tracer.trace_many(examples, 4, 12)
    n = len(examples[0].token_ids)
    assert max(fed) >= n - 3 and sum(length > 1 for length in fed) == 3  # the twin prompt: none
    assert sorted(fed)[-2] < n - 60
    for ours, one in zip(together, alone, strict=True):
        assert ours.tokens.tolist() == one.tokens.tolist()
        assert torch.equal(ours.active("copy_paste"), one.active("copy_paste"))
        torch.testing.assert_close(
            ours.scores["reasoning"], one.scores["reasoning"], atol=1e-4, rtol=0
        )
        torch.testing.assert_close(ours.hidden, one.hidden, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_scores_from_cache_and_record_agree_with_the_trace(smollm2, case, seed):
    example, expected = case(seed)
    n_prompt, n_steps = len(example.token_ids), 24
    sequence = torch.cat([example.token_ids, torch.tensor(expected.tokens[:n_steps])])
    names = [f"blocks.{i}.attn.hook_pattern" for i in range(30)]
    with torch.inference_mode():
        _, cache = smollm2.run_with_cache(sequence[None], names_filter=lambda n: n in names)
    ours = tracer(smollm2)
    scores = ours.scores_from_cache(cache, sequence, example.evidence, prompt_length=n_prompt)
    with torch.inference_mode(), ours.record(example.evidence) as recorder:
        smollm2.generate(
            example.token_ids[None], max_new_tokens=n_steps, do_sample=False, verbose=False
        )
    recorded = recorder.scores
    for name, theirs in (
        ("copy_paste", reference.copy_paste(expected, example.token_ids, example.evidence)),
        (
            "copy_paste_position",
            reference.copy_paste(expected, example.token_ids, example.evidence, "position"),
        ),
        ("reasoning", reference.reasoning(expected, example.token_ids, example.evidence)[0]),
    ):
        rows = slice(n_prompt - 1, n_prompt - 1 + n_steps)
        np.testing.assert_allclose(scores[name][rows], theirs[:n_steps], atol=TOLERANCE)
        np.testing.assert_allclose(recorded[name][rows], theirs[:n_steps], atol=TOLERANCE)
    assert scores["copy_paste"][-1].isnan().all() and not scores["reasoning"].isnan().any()
    with_last = ours.scores_from_cache(
        cache,
        sequence,
        example.evidence,
        predictions=torch.tensor([*sequence[1:].tolist(), expected.tokens[n_steps]]),
        prompt_length=n_prompt,
    )
    last = reference.copy_paste(expected, example.token_ids, example.evidence)[n_steps]
    np.testing.assert_array_equal(with_last["copy_paste"][-1].numpy(), last)


@pytest.mark.slow
def test_hidden_states_of_other_layers(smollm2, case):
    example, expected = case(0)
    names = ("ln_final.hook_out", "ln_final.hook_in", "blocks.9.hook_out", "blocks.10.hook_in")
    runs = [
        rl.RetrievalTracer(smollm2, hidden_at=names).trace(example, 6, engine)
        for engine in ("fast", "hooks")
    ]
    plain = rl.RetrievalTracer(smollm2)
    runs.append(plain.trace(example, 6, hidden_at=names))
    for trace in runs:
        assert tuple(trace.hiddens) == names
        np.testing.assert_allclose(trace.hidden, expected.hidden[:6], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            trace.hiddens["blocks.9.hook_out"], trace.hiddens["blocks.10.hook_in"]
        )
    for name in names:
        torch.testing.assert_close(
            runs[0].hiddens[name], runs[1].hiddens[name], atol=1e-3, rtol=1e-4
        )


def test_plain_text_is_tokenized_as_the_checkpoint_wants_it(smollm2):
    own = AutoTokenizer.from_pretrained(checkpoint_folder("smollm2-135m"))
    text = "Ann has three cats."
    assert smollm2.tokenizer(text)["input_ids"] == own(text)["input_ids"]
    example = rl.RetrievalExample.from_text(smollm2.tokenizer, text, [text])
    assert example.token_ids.tolist() == own(text)["input_ids"]
    assert example.meta["prepended_bos"] is False
