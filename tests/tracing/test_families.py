"""Every family on tiny random models: both engines against plain transformers."""

import numpy as np
import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.models import hook_names
from retrieval_lens.tracing.engine import choose_engine
from retrieval_lens.tracing.twin import twin_of
from tests.tiny_models import FAMILIES, tiny_bridge, tiny_hf
from tests.tracing import reference

STEPS = 8
LAST = ("ln_final.hook_out",)


def narrow(model):
    """Let the model write the tokens 3 to 9 alone, so that some of its heads happen to copy."""
    with torch.no_grad():
        weight = model.get_output_embeddings().weight
        weight[:3], weight[10:] = 0, 0
        weight[3:10] *= 4
    return model


def copying_example(n=40):
    """A prompt of few different tokens, nearly all of it evidence."""
    ids = torch.randint(3, 10, (n,), generator=torch.Generator().manual_seed(1))
    return rl.RetrievalExample("copying", "", ids, torch.arange(2, n - 2), ())


def example(n=40, seed=0, evidence=(9, 10, 11, 30)):
    ids = torch.randint(3, 199, (n,), generator=torch.Generator().manual_seed(seed))
    return rl.RetrievalExample(f"tiny-{seed}", "", ids, torch.tensor(sorted(evidence)), ())


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def bridge(family):
    return tiny_bridge(family)


@pytest.fixture(scope="module")
def plain(family):
    model = tiny_hf(family)
    model.set_attn_implementation("eager")
    return model.eval()


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_trace_equals_plain_transformers(bridge, plain, engine):
    one = example()
    score = rl.Reasoning(n_sink=2, n_local=6)
    trace = rl.RetrievalTracer(bridge, [rl.CopyPaste(), score]).trace(one, STEPS, engine)
    expected = reference.decode(plain, one.token_ids, {2}, STEPS)
    assert trace.tokens.tolist() == expected.tokens
    copied = reference.copy_paste(expected, one.token_ids, one.evidence)
    np.testing.assert_array_equal(trace.scores["copy_paste"].numpy(), copied)
    scores, _ = reference.reasoning(expected, one.token_ids, one.evidence, 2, 6)
    np.testing.assert_allclose(trace.scores["reasoning"], scores, atol=1e-4)
    np.testing.assert_allclose(trace.hidden, expected.hidden, atol=1e-4, rtol=1e-4)
    best = np.stack([row.argmax(-1) for row in expected.rows])
    np.testing.assert_array_equal(trace.top_positions[..., 0].numpy(), best)


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_copying_heads_are_found(family, engine):
    one = copying_example()
    model = narrow(tiny_hf(family)).eval()
    model.set_attn_implementation("eager")
    expected = reference.decode(model, one.token_ids, {2}, STEPS)
    assert len(expected.tokens) == STEPS
    bridge = tiny_bridge(family)
    narrow(bridge.original_model)
    scores = [rl.CopyPaste(), rl.CopyPaste(match="position")]
    trace = rl.RetrievalTracer(bridge, scores).trace(one, STEPS, engine)
    assert trace.tokens.tolist() == expected.tokens
    for match, name in (("token", "copy_paste"), ("position", "copy_paste_position")):
        theirs = reference.copy_paste(expected, one.token_ids, one.evidence, match)
        np.testing.assert_array_equal(trace.scores[name].numpy(), theirs)
    assert trace.scores["copy_paste"].sum() > 0


@pytest.mark.parametrize("sliding_first", [True, False])
def test_record_follows_generate_through_sliding_windows(sliding_first):
    from transformers import AutoModelForCausalLM

    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    config = FAMILIES["gemma3"]()
    config.layer_types = kinds if sliding_first else kinds[1:] + kinds[:1]
    torch.manual_seed(0)
    model = rl.load_model(hf_model=AutoModelForCausalLM.from_config(config).eval())
    check_record(model)


def check_record(model):
    one = example()
    tracer = rl.RetrievalTracer(model, [rl.CopyPaste(), rl.Reasoning(n_sink=2, n_local=6)])
    trace = tracer.trace(one, 6)
    with tracer.record(one.evidence) as recorder:
        model.generate(one.token_ids[None], max_new_tokens=6, do_sample=False, verbose=False)
    n = min(trace.n_steps, len(recorder.token_ids) - len(one.token_ids) + 1)
    rows = slice(len(one.token_ids) - 1, len(one.token_ids) - 1 + n)
    assert n > 2
    for name in ("copy_paste", "reasoning"):
        ours = recorder.scores[name][rows]
        torch.testing.assert_close(ours, trace.scores[name][:n], atol=1e-4, rtol=0)


def test_record_follows_generate(bridge):
    check_record(bridge)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_traced_fast_too(family, dtype):
    bridge = rl.load_model(hf_model=tiny_hf(family).to(dtype))
    assert choose_engine(bridge, "auto", LAST)[0] == "fast"
    fast, hooks = (rl.RetrievalTracer(bridge).trace(example(), 1, e) for e in ("fast", "hooks"))
    difference = (fast.scores["reasoning"] - hooks.scores["reasoning"]).abs()
    assert fast.scores["reasoning"].dtype == torch.float32 and difference.mean() < 0.02


def test_batches_equal_single_runs(bridge):
    examples = [example(n, seed) for seed, n in enumerate((40, 33, 55))]
    tracer = rl.RetrievalTracer(bridge)
    for ours, one in zip(tracer.trace_many(examples, 3, STEPS), examples, strict=True):
        alone = tracer.trace(one, STEPS)
        assert ours.tokens.tolist() == alone.tokens.tolist()
        torch.testing.assert_close(ours.scores["reasoning"], alone.scores["reasoning"])
        assert ours.scores["copy_paste"].equal(alone.scores["copy_paste"])
        torch.testing.assert_close(ours.hidden, alone.hidden, atol=1e-4, rtol=1e-4)
        assert ours.top_positions[..., 0].equal(alone.top_positions[..., 0])


def test_the_fast_engine_is_chosen_after_its_proof(bridge):
    assert choose_engine(bridge, "auto", LAST) == ("fast", "proven equal on this model")


def test_the_twin_shares_every_weight_and_computes_the_same(bridge, family):
    twin = twin_of(bridge)
    pointers = {p.data_ptr() for p in bridge.original_model.parameters()}
    pointers |= {p.data_ptr() for p in bridge.parameters()}
    assert {p.data_ptr() for p in twin.parameters()} <= pointers
    ids = example().token_ids[None]
    same = tiny_hf(family)
    same.set_attn_implementation("sdpa")
    with torch.no_grad():
        assert torch.equal(twin(ids).logits, same.eval()(ids).logits)
    assert twin_of(bridge) is twin


def test_scores_from_cache_and_record(bridge, plain):
    one = example(24, evidence=(9, 10, 11))
    scores = [rl.CopyPaste(), rl.Reasoning(n_sink=2, n_local=6)]
    tracer = rl.RetrievalTracer(bridge, scores)
    trace = tracer.trace(one, 5)
    sequence = torch.cat([one.token_ids, trace.tokens[:-1]])
    with torch.inference_mode():
        _, cache = bridge.run_with_cache(sequence[None])
        ours = tracer.scores_from_cache(
            cache,
            sequence,
            one.evidence,
            prompt_length=24,
            predictions=torch.cat([sequence[1:], trace.tokens[-1:]]),
        )
        with tracer.record(one.evidence) as recorder:
            bridge(sequence[None])
    first = len(one.token_ids) - 1
    for name in ("copy_paste", "reasoning"):
        torch.testing.assert_close(ours[name][first:], trace.scores[name], atol=1e-5, rtol=0)
        torch.testing.assert_close(recorder.scores[name], ours[name], atol=1e-5, rtol=0)
    assert not any(point.has_hooks() for point in bridge.hook_dict.values())
    assert hook_names.pattern(0) in cache
