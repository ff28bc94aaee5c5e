"""The real model: ablation against plain transformers."""

from functools import cache

import pytest
import torch
from transformers import AutoModelForCausalLM

import retrieval_lens as rl
from retrieval_lens.models import checkpoint_folder, user_hooks
from tests.ablation import reference
from tests.ablation.test_families import plain_mean

HEADS = [(6, 0), (17, 3), (17, 4), (18, 6), (18, 7), (20, 6), (23, 2)]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
SEEDS = range(10)


@pytest.fixture(scope="module")
def plain():
    """A second copy of the weights with the tests' own attention."""
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint_folder("smollm2-135m"), dtype=torch.float32
    )
    return reference.naive(model)


@pytest.fixture(scope="module")
def references(smollm2):
    tracer = rl.RetrievalTracer(smollm2)
    return [tracer.trace(needle(smollm2, seed), 12) for seed in (100, 101)]


@cache
def needle(model, seed):
    return rl.needle_example(model.tokenizer, n_tokens=100, depth=0.5, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["zero", "mean", "uniform", "knockout"])
def test_logits_of_a_forward_pass(smollm2, plain, references, mode):
    example = needle(smollm2, 0)
    ids, evidence = example.token_ids.view(1, -1), example.evidence.tolist()
    ours = rl.Ablator(smollm2, mode, references if mode == "mean" else None)
    mean = plain_mean(plain, references)
    with torch.no_grad():
        with ours.ablate(HEADS, evidence=evidence):
            logits = smollm2(ids)
        with reference.ablated(plain, HEADS, mode, mean, evidence, ids.shape[1]):
            expected = plain(ids).logits
        untouched = plain(ids).logits
    torch.testing.assert_close(logits, expected, **CLOSE)
    assert (logits - untouched).abs().max() > 0.1
    assert not user_hooks(smollm2)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["zero", "mean", "uniform", "knockout"])
def test_logits_of_one_masked_decode_step(smollm2, plain, references, mode):
    trace = rl.RetrievalTracer(smollm2).trace(needle(smollm2, 0), 12)
    ours = rl.Ablator(smollm2, mode, references if mode == "mean" else None)
    mean = plain_mean(plain, references)
    fast, hooks = (
        ours.step_effects(trace, {"heads": HEADS, "one": HEADS[:1]}, engine=engine)
        for engine in ("fast", "hooks")
    )
    torch.testing.assert_close(
        torch.tensor(fast[["delta_log_prob", "kl"]].to_numpy()),
        torch.tensor(hooks[["delta_log_prob", "kl"]].to_numpy()),
        **CLOSE,
    )
    from transformers import DynamicCache

    cache_ = DynamicCache(config=plain.config)
    ids, n = torch.cat([trace.token_ids, trace.tokens]), len(trace.token_ids) + 7
    with torch.no_grad():
        plain(ids[: n - 1].view(1, -1), past_key_values=cache_)
        with reference.ablated(plain, HEADS, mode, mean, trace.evidence.tolist(), n):
            out = plain(ids[n - 1 : n].view(1, 1), past_key_values=cache_).logits[0, -1]
        clean = plain(ids[:n].view(1, -1)).logits[0, -1].double().log_softmax(-1)
    masked = out.double().log_softmax(-1)
    row = fast[(fast.condition == "heads") & (fast.step == 7)].iloc[0]
    assert row.delta_log_prob == pytest.approx(float((masked - clean)[ids[n]]), abs=1e-4)
    assert row.kl == pytest.approx(float((clean.exp() * (clean - masked)).sum()), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("keep_kv", ["ablated", "clean"])
def test_dynamic_generation_is_the_two_pass_loop(smollm2, plain, seed, keep_kv):
    example, n_new = needle(smollm2, seed), 14
    run = rl.Ablator(smollm2).generate(example, rl.Dynamic(), n_new, keep_kv=keep_kv)
    choose = reference.copying_heads(example.token_ids, example.evidence)
    tokens, masked = reference.two_passes(
        plain, example.token_ids, example.evidence, {2}, n_new, choose, keep_kv
    )
    assert run.tokens.tolist() == tokens
    assert [set(heads) for heads in run.masked] == masked
    assert sum(map(len, masked)) > 0


@pytest.mark.slow
def test_both_engines_and_batches_generate_the_same(smollm2):
    example = needle(smollm2, 3)
    ours = rl.Ablator(smollm2)
    heads = {
        "none": None,
        "dynamic": rl.Dynamic(),
        "one": rl.Dynamic(k=1),
        "fixed": HEADS,
        "shifted": rl.TimeShifted(2),
        "mass": rl.MassMatched(),
    }
    steps = 10
    for keep_kv in ("ablated", "clean"):
        batch = ours.generate_many(example, heads, steps, keep_kv=keep_kv)
        pairs = ours.generate_many(example, heads, steps, keep_kv=keep_kv, batch_size=2)
        slow = ours.generate_many(example, heads, steps, keep_kv=keep_kv, engine="hooks")
        for name in heads:
            for other in (pairs, slow):
                assert batch[name].tokens.tolist() == other[name].tokens.tolist(), name
                assert torch.equal(batch[name].mask, other[name].mask), name
                assert torch.equal(batch[name].active, other[name].active), name
                assert torch.equal(batch[name].active_masked, other[name].active_masked), name
    plain_tokens = rl.RetrievalTracer(smollm2).trace(example, steps).tokens
    assert batch["none"].tokens.tolist() == plain_tokens.tolist()
