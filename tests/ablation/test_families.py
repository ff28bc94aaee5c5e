"""Every family on tiny random models: ablation against plain transformers."""

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.models import user_hooks
from tests.ablation import reference
from tests.tiny_models import FAMILIES, tiny_bridge, tiny_hf
from tests.tracing.test_families import copying_example, narrow

HEADS = {(0, 1), (1, 0), (1, 3), (2, 2)}
EVIDENCE = torch.tensor([0, 1, 9, 10, 11, 30])
MODES = ("zero", "mean", "uniform", "knockout")
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def prompt(seed=0, n=40):
    return torch.randint(3, 199, (n,), generator=torch.Generator().manual_seed(seed))


def example(seed=0):
    return rl.RetrievalExample(f"tiny-{seed}", "", prompt(seed), EVIDENCE, ())


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def bridge(family):
    return tiny_bridge(family)


@pytest.fixture(scope="module")
def plain(family):
    return reference.naive(tiny_hf(family))


@pytest.fixture(scope="module")
def references(bridge):
    tracer = rl.RetrievalTracer(bridge)
    return [tracer.trace(example(seed), 6) for seed in (8, 9)]


def ablator(bridge, mode, references):
    return rl.Ablator(bridge, mode, references if mode == "mean" else None)


def plain_mean(plain, references):
    """Mean input of the output projection over the decode positions, from whole passes."""
    d_head, n_heads = reference.head_width(plain), plain.config.num_attention_heads
    seen = {layer: [] for layer in reference.output_projections(plain)}
    handles = [
        module.register_forward_pre_hook(lambda m, args, layer=layer: seen[layer].append(args[0]))
        for layer, module in reference.output_projections(plain).items()
    ]
    with torch.no_grad():
        for trace in references:
            plain(torch.cat([trace.token_ids, trace.tokens[:-1]]).view(1, -1))
    for handle in handles:
        handle.remove()
    n = [trace.n_steps for trace in references]
    return {
        layer: torch.cat([x[0, -k:] for x, k in zip(parts, n, strict=True)])
        .double()
        .mean(0)
        .view(n_heads, d_head)
        .float()
        for layer, parts in seen.items()
    }


@pytest.mark.parametrize("mode", MODES)
def test_every_position_of_a_forward_pass(bridge, plain, references, mode):
    ids = prompt().view(1, -1)
    ours = ablator(bridge, mode, references)
    mean = plain_mean(plain, references)
    with torch.no_grad():
        with ours.ablate(HEADS_SET, evidence=EVIDENCE):
            logits = bridge(ids)
        with reference.ablated(plain, HEADS, mode, mean, EVIDENCE.tolist(), total=ids.shape[1]):
            expected = plain(ids).logits
        untouched = plain(ids).logits
        torch.testing.assert_close(logits, expected, **CLOSE)
        assert (logits - untouched).abs().max() > 1e-2
        torch.testing.assert_close(bridge(ids), untouched, **CLOSE)
    assert not user_hooks(bridge)


HEADS_SET = rl.HeadSet(sorted(HEADS))


@pytest.mark.parametrize("engine", ["fast", "hooks"])
@pytest.mark.parametrize("mode", MODES)
def test_fixed_heads_masked_at_the_query(bridge, plain, references, mode, engine):
    one = example()
    mean = plain_mean(plain, references)
    run = ablator(bridge, mode, references).generate(one, HEADS_SET, 6, engine=engine)
    from transformers import DynamicCache

    cache = DynamicCache(config=plain.config)
    with torch.no_grad():
        plain(one.token_ids[:-1].view(1, -1), past_key_values=cache)
        fed, tokens = one.token_ids[-1:].view(1, 1), []
        for step in range(6):
            total = len(one.token_ids) + step
            with reference.ablated(plain, HEADS, mode, mean, EVIDENCE.tolist(), total):
                tokens.append(int(plain(fed, past_key_values=cache).logits[0, -1].argmax()))
            if tokens[-1] == 2:
                break
            fed = torch.tensor([[tokens[-1]]])
    assert run.tokens.tolist() == tokens
    assert all(masked == HEADS_SET for masked in run.masked)


@pytest.mark.parametrize("engine", ["fast", "hooks"])
@pytest.mark.parametrize("mode", MODES)
def test_scope_all_masks_the_prefill_too(bridge, plain, references, mode, engine):
    one = example()
    mean = plain_mean(plain, references)
    ours = ablator(bridge, mode, references)
    run = ours.generate(one, HEADS_SET, 6, engine=engine, scope="all")
    tokens, ids = [], one.token_ids
    with torch.no_grad():
        for _ in range(6):  # without a cache: every position is masked, every time
            with reference.ablated(plain, HEADS, mode, mean, EVIDENCE.tolist(), len(ids)):
                tokens.append(int(plain(ids.view(1, -1)).logits[0, -1].argmax()))
            if tokens[-1] == 2:
                break
            ids = torch.cat([ids, torch.tensor(tokens[-1:])])
    assert run.tokens.tolist() == tokens


@pytest.mark.parametrize("engine", ["fast", "hooks"])
@pytest.mark.parametrize("keep_kv", ["ablated", "clean"])
def test_dynamic_generation_is_the_two_pass_loop(family, keep_kv, engine):
    one = copying_example()
    plain = reference.naive(narrow(tiny_hf(family)))
    bridge = tiny_bridge(family)
    narrow(bridge.original_model)
    run = rl.Ablator(bridge).generate(one, rl.Dynamic(), 8, keep_kv=keep_kv, engine=engine)
    choose = reference.copying_heads(one.token_ids, one.evidence)
    tokens, masked = reference.two_passes(
        plain, one.token_ids, one.evidence, {2}, 8, choose, keep_kv
    )
    assert [set(heads) for heads in run.masked] == masked
    assert run.tokens.tolist() == tokens
    assert sum(map(len, masked)) > 0


@pytest.mark.parametrize("engine", ["fast", "hooks"])
@pytest.mark.parametrize("mode", MODES)
def test_single_step_effect(bridge, plain, references, mode, engine):
    one = example()
    trace = rl.RetrievalTracer(bridge).trace(one, 5)
    mean = plain_mean(plain, references)
    frame = ablator(bridge, mode, references).step_effects(
        trace, {"some": HEADS_SET, "one": ["L2H0"], "none": None}, engine=engine
    )
    from transformers import DynamicCache

    conditions = {"some": HEADS, "one": {(2, 0)}, "none": set()}
    for name, heads in conditions.items():
        mine = frame[frame.condition == name]
        ids = torch.cat([trace.token_ids, trace.tokens])
        for t, answer in enumerate(trace.tokens.tolist()):
            n = len(trace.token_ids) + t
            with torch.no_grad():
                clean = plain(ids[:n].view(1, -1)).logits[0, -1].double().log_softmax(-1)
                cache = DynamicCache(config=plain.config)
                plain(ids[: n - 1].view(1, -1), past_key_values=cache)
                with reference.ablated(plain, heads, mode, mean, EVIDENCE.tolist(), n):
                    out = plain(ids[n - 1 : n].view(1, 1), past_key_values=cache)
            masked = out.logits[0, -1].double().log_softmax(-1)
            row = mine[mine.step == t].iloc[0]
            assert row.n_heads == len(heads)
            assert row.delta_log_prob == pytest.approx(float((masked - clean)[answer]), abs=1e-4)
            kl = float((clean.exp() * (clean - masked)).sum())
            assert row.kl == pytest.approx(kl, abs=1e-4)
    assert (frame[frame.condition == "none"][["delta_log_prob", "kl"]] == 0).all().all()
    assert frame[frame.condition == "some"].kl.max() > 1e-3
