"""How the ablator is used: what it refuses, what it leaves behind, what it shares."""

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.errors import (
    ContextLengthError,
    EvidenceError,
    InputError,
    NumericalError,
    UnknownNameError,
)
from retrieval_lens.models import user_hooks
from retrieval_lens.tracing import prefill_prefix
from retrieval_lens.tracing.twin import twin_of
from tests.ablation.test_families import example, prompt
from tests.tiny_models import tiny_bridge
from tests.tracing.test_families import copying_example, narrow


@pytest.fixture
def bridge():
    return tiny_bridge("llama-gqa")


@pytest.fixture
def copier():
    """A model some of whose heads copy."""
    bridge = tiny_bridge("llama-gqa")
    narrow(bridge.original_model)
    return bridge


def mixed_example():
    """A prompt of whose response some tokens are copied and some are not."""
    ids = torch.randint(3, 10, (40,), generator=torch.Generator().manual_seed(4))
    return rl.RetrievalExample("mixed", "", ids, torch.arange(2, 38), ())


def count_hooks(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def test_hooks_are_gone_after_success_and_after_an_exception(bridge):
    ablator, ids = rl.Ablator(bridge), prompt().view(1, -1)
    bridge(ids)
    before = count_hooks(bridge)
    clean = bridge(ids)
    with ablator.ablate(["L1H2"]):
        assert count_hooks(bridge) > before
        assert user_hooks(bridge)
    assert count_hooks(bridge) == before
    with pytest.raises(ZeroDivisionError), ablator.ablate(["L1H2"]):
        assert count_hooks(bridge) > before
        _ = 1 / 0
    assert count_hooks(bridge) == before and not user_hooks(bridge)
    assert torch.equal(bridge(ids), clean)


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_generation_leaves_nothing_behind(copier, engine, monkeypatch):
    one = copying_example()
    ablator = rl.Ablator(copier)
    twin = twin_of(copier)
    ablator.generate(one, rl.Dynamic(), 4, engine=engine)
    before = count_hooks(copier), count_hooks(twin)
    forwards = [vars(block).get("forward") for block in twin.model.layers]

    def fail(self, step):
        assert (count_hooks(copier), count_hooks(twin)) != before
        raise ZeroDivisionError

    monkeypatch.setattr(rl.Dynamic, "select", fail)
    with pytest.raises(ZeroDivisionError):
        ablator.generate(one, rl.Dynamic(), 4, engine=engine)
    assert (count_hooks(copier), count_hooks(twin)) == before
    assert [vars(block).get("forward") for block in twin.model.layers] == forwards


def test_a_failing_second_pass_gives_the_blocks_back(copier, monkeypatch):
    from retrieval_lens.ablation.modes import Zero

    def fail(self, layer, z):
        raise ZeroDivisionError

    monkeypatch.setattr(Zero, "z", fail)
    with pytest.raises(ZeroDivisionError):
        rl.Ablator(copier).generate(copying_example(), rl.Dynamic(), 8)
    assert not any("forward" in vars(block) for block in twin_of(copier).model.layers)


def test_the_users_hooks_stay_and_are_seen(copier):
    one, seen = copying_example(), []
    ablator = rl.Ablator(copier)
    plain = ablator.generate(one, rl.Dynamic(), 6)

    def silence(z, hook):
        seen.append(1)
        z[:, :, 1] = 0
        return z

    with copier.hooks(fwd_hooks=[("blocks.0.attn.hook_z", silence)]):
        run = ablator.generate(one, rl.Dynamic(), 6)
        assert run.provenance["conventions"]["engine"] == "hooks"
        assert user_hooks(copier)
    by_us = ablator.generate(one, ["L0H1"], 6, scope="all")
    assert seen and run.tokens.tolist() != plain.tokens.tolist() or run.n_masked.sum() > 0
    with copier.hooks(fwd_hooks=[("blocks.0.attn.hook_z", silence)]):
        nothing = ablator.generate(one, None, 6)
    assert nothing.tokens.tolist() == by_us.tokens.tolist()


def test_an_empty_set_is_exactly_the_clean_run(copier):
    one = copying_example()
    ablator = rl.Ablator(copier)
    clean = rl.RetrievalTracer(copier).trace(one, 8).tokens.tolist()
    for heads in (None, rl.HeadSet(), rl.Dynamic(k=0), [rl.HeadSet()] * 3):
        run = ablator.generate(one, heads, 8)
        assert run.tokens.tolist() == clean
        assert not run.mask.any()


def test_the_second_pass_is_skipped_where_the_set_is_empty(copier, monkeypatch):
    from retrieval_lens.tracing.fast import FastDecoder

    rl.RetrievalTracer(copier).trace(mixed_example(), 1)  # proves the engine, in steps of its own
    passes, step = [], FastDecoder.step

    def counting(self, tokens, edit=None, listener=None, again=False):
        passes.append(again)
        return step(self, tokens, edit, listener, again)

    monkeypatch.setattr(FastDecoder, "step", counting)
    run = rl.Ablator(copier).generate(mixed_example(), rl.Dynamic(), 8, engine="fast")
    n_full = int((run.n_masked > 0).sum())
    assert 0 < n_full < run.n_steps
    assert (passes.count(False), passes.count(True)) == (run.n_steps, n_full)


def test_one_prefill_serves_all_conditions(copier, monkeypatch):
    from retrieval_lens.tracing.fast import FastDecoder

    fed, forward = [], FastDecoder._forward

    def counting(self, token_ids, **extra):
        fed.append(token_ids.shape[1])
        return forward(self, token_ids, **extra)

    one = copying_example()
    ablator = rl.Ablator(copier)
    conditions = {"dynamic": rl.Dynamic(), "fixed": ["L0H1"], "none": None}
    alone = {name: ablator.generate(one, heads, 6) for name, heads in conditions.items()}
    monkeypatch.setattr(FastDecoder, "_forward", counting)
    runs = ablator.generate_many(one, conditions, 6)
    assert [n for n in fed if n > 1] == [len(one.token_ids) - 1]
    for name, run in runs.items():
        assert run.tokens.tolist() == alone[name].tokens.tolist()
        assert torch.equal(run.mask, alone[name].mask)


def test_a_prefix_is_copied_not_computed(copier, monkeypatch):
    from retrieval_lens.tracing.fast import FastDecoder

    one = copying_example(60)
    ablator, tracer = rl.Ablator(copier), rl.RetrievalTracer(copier)
    whole = ablator.generate(one, rl.Dynamic(), 6), tracer.trace(one, 6)
    prefix = prefill_prefix(copier, torch.cat([one.token_ids[:50], torch.tensor([150, 151])]))
    fed, forward = [], FastDecoder._forward

    def counting(self, token_ids, **extra):
        fed.append(token_ids.shape[1])
        return forward(self, token_ids, **extra)

    monkeypatch.setattr(FastDecoder, "_forward", counting)
    run = ablator.generate(one, rl.Dynamic(), 6, prefix=prefix)
    trace = tracer.trace(one, 6, prefix=prefix)
    assert [n for n in fed if n > 1] == [9, 9]
    assert run.tokens.tolist() == whole[0].tokens.tolist()
    assert trace.tokens.tolist() == whole[1].tokens.tolist()
    torch.testing.assert_close(trace.scores, whole[1].scores, atol=1e-5, rtol=0)
    with torch.no_grad():
        copier.original_model.model.layers[0].mlp.down_proj.weight.mul_(2)
    with pytest.raises(InputError, match="other weights"):
        tracer.trace(one, 6, prefix=prefix)


def test_no_prefix_for_sliding_windows():
    bridge = tiny_bridge("gemma3")
    assert prefill_prefix(bridge, prompt()) is None
    assert rl.Ablator(bridge).generate(example(), ["L0H0"], 3, prefix=None).n_steps > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"heads": ["L9H0"]}, InputError, "out of range"),
        ({"heads": ["L0H4"]}, InputError, "out of range"),
        ({"heads": [rl.HeadSet(["L3H0"])]}, InputError, "out of range"),
        ({"heads": 7}, InputError, "HeadSet"),
        ({"heads": rl.Dynamic(), "scope": "all"}, InputError, "fixed sets"),
        ({"heads": ["L0H0"], "scope": "prefill"}, InputError, "'query' or 'all'"),
        ({"heads": ["L0H0"], "keep_kv": "both"}, InputError, "'ablated' or 'clean'"),
        ({"heads": ["L0H0"], "scope": "all", "keep_kv": "clean"}, InputError, "has none"),
        ({"heads": ["L0H0"], "max_new_tokens": 0}, InputError, "at least 1"),
        ({"heads": ["L0H0"], "max_new_tokens": 1000}, ContextLengthError, "context"),
        ({"heads": ["L0H0"], "engine": "quick"}, InputError, "engine"),
    ],
)
def test_generate_refuses(bridge, arguments, error, message):
    with pytest.raises(error, match=message):
        rl.Ablator(bridge).generate(example(), **arguments)


def test_other_refusals(bridge):
    with pytest.raises(UnknownNameError, match="zero, mean, uniform, knockout"):
        rl.Ablator(bridge, "resample")
    with pytest.raises(InputError, match="needs reference="):
        rl.Ablator(bridge, "mean")
    with pytest.raises(InputError, match="uses no reference"):
        rl.Ablator(bridge, "zero", [rl.RetrievalTracer(bridge).trace(example(), 2)])
    with pytest.raises(EvidenceError, match="needs evidence="):
        rl.Ablator(bridge, "knockout").hooks(["L0H0"])
    with pytest.raises(InputError, match="decode step"):
        rl.Ablator(bridge).hooks(rl.Dynamic())
    with pytest.raises(InputError, match="empty"):
        rl.Ablator(bridge).generate_many(example(), {})
    with pytest.raises(InputError, match="batch_size"):
        rl.Ablator(bridge).generate_many(example(), {"none": None}, batch_size=0)


def test_judging_on_the_examples_it_was_chosen_on_is_refused(bridge):
    traces = rl.RetrievalTracer(bridge).trace_many([example(0), example(1)], max_new_tokens=3)
    static = rl.static_heads(traces, k=4)
    for heads in (static, rl.StaticByCount(static), rl.DynamicMinus(static), [static] * 3):
        with pytest.raises(InputError, match="tiny-0.*must not be judged"):
            rl.Ablator(bridge).generate(example(0), heads, 3)
        with pytest.raises(InputError, match="must not be judged"):
            rl.Ablator(bridge).step_effect(traces[0], heads)
        assert rl.Ablator(bridge).generate(example(2), heads, 3).n_steps > 0
    assert rl.Ablator(bridge, allow_overlap=True).generate(example(0), static, 3).n_steps > 0
    with pytest.raises(InputError, match="tiny-1.*must not be judged"):
        rl.Ablator(bridge, "mean", traces).generate(example(1), ["L0H0"], 3)


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_nan_is_an_error(engine):
    bridge = tiny_bridge("llama-gqa")
    with torch.no_grad():
        bridge.original_model.model.layers[2].self_attn.q_proj.weight[0] = float("nan")
    with pytest.raises((NumericalError, InputError), match="NaN|cannot be used"):
        rl.Ablator(bridge).generate(example(), rl.Dynamic(), 3, engine=engine)


def test_step_effect_takes_an_example_and_keeps_its_conventions(copier):
    one = mixed_example()
    ablator = rl.Ablator(copier)
    trace = rl.RetrievalTracer(copier).trace(one, 6)
    by_trace = ablator.step_effect(trace, rl.Dynamic())
    by_example = ablator.step_effect(one, rl.Dynamic(), max_new_tokens=6)
    assert by_trace.equals(by_example)
    assert list(by_trace.columns) == ["step", "n_heads", "delta_log_prob", "kl", "is_retrieval"]
    counts = trace.active("copy_paste").sum((1, 2))
    assert by_trace.n_heads.tolist() == counts.tolist()
    assert by_trace.is_retrieval.tolist() == (counts > 0).tolist()
    assert by_trace.is_retrieval.any() and not by_trace.is_retrieval.all()
    assert by_trace.attrs["mode"]["mode"] == "zero"
    conditions = {"dynamic": rl.Dynamic(), "a": ["L0H0"], "b": ["L1H1", "L2H2"]}
    together = ablator.step_effects(trace, conditions)
    pairs = ablator.step_effects(trace, conditions, batch_size=2)
    torch.testing.assert_close(
        torch.tensor(together.kl.to_numpy()), torch.tensor(pairs.kl.to_numpy()), atol=1e-4, rtol=0
    )


def test_the_effect_is_of_the_clean_prefix(copier):
    """Masking one step changes nothing at the next: each starts from the clean prefix."""
    trace = rl.RetrievalTracer(copier).trace(copying_example(), 6)
    everywhere = rl.Ablator(copier).step_effect(trace, ["L0H0", "L1H1"])
    only_third = [rl.HeadSet()] * 2 + [rl.HeadSet(["L0H0", "L1H1"])]
    once = rl.Ablator(copier).step_effect(trace, only_third)
    assert once.kl.tolist()[2] == pytest.approx(everywhere.kl.tolist()[2], abs=1e-9)
    assert (once.kl.drop(2) == 0).all()


def test_compensation_is_what_becomes_active_in_the_masked_pass(copier):
    from tests.ablation import reference
    from tests.tiny_models import tiny_hf

    one = mixed_example()
    run = rl.Ablator(copier).generate(one, rl.Dynamic(k=1), 8)
    plain = reference.naive(narrow(tiny_hf("llama-gqa")))
    choose = reference.copying_heads(one.token_ids, one.evidence)
    before, seen = [], []

    def strongest(rows, token, step):
        """One head of D_t: the one with the largest weight at its arg-max."""
        before.append(choose(rows, token, step))
        return set(sorted(before[-1], key=lambda h: (-float(rows[h[0]][h[1]].max()), h))[:1])

    tokens, masked = reference.two_passes(
        plain, one.token_ids, one.evidence, {2}, 8, strongest, seen=seen
    )
    assert run.tokens.tolist() == tokens
    found = [
        choose(rows, token, t) - was if heads else set()
        for t, (rows, token, was, heads) in enumerate(
            zip(seen, tokens, before, masked, strict=True)
        )
    ]
    assert [set(heads) for heads in run.compensated()] == found
    clean = [
        choose(rows, token, t) - was if heads else set()
        for t, (rows, token, was, heads) in enumerate(
            zip(seen, run.clean_tokens.tolist(), before, masked, strict=True)
        )
    ]
    assert [set(heads) for heads in run.compensated("clean")] == clean
    assert clean != found
    static = rl.HeadSet(sorted({head for heads in found for head in heads})[:3])
    expected = max(len(heads & set(static)) for heads in found)
    assert rl.ablation.compensation(run, static) == expected > 0
    with pytest.raises(InputError, match="'masked' or 'clean'"):
        run.compensated("both")


def test_a_mode_of_ones_own(bridge):
    class Half(rl.AblationMode):
        name = "half"

        def z(self, layer, z):
            return z / 2

    run = rl.Ablator(bridge, Half()).generate(example(), ["L0H0"], 3)
    assert run.provenance["mode"]["mode"] == "half"


@pytest.mark.parametrize(("batch_size", "n_left"), [(1, 1), (2, 0)])
def test_smaller_batches_share_the_prefill_too(copier, monkeypatch, batch_size, n_left):
    """Single rows leave the last token to the first step; a prefix is the whole prompt."""
    from retrieval_lens.tracing.fast import FastDecoder

    one, fed, forward = copying_example(60), [], FastDecoder._forward
    ablator = rl.Ablator(copier)
    conditions = {"dynamic": rl.Dynamic(), "fixed": ["L0H1"], "none": None}
    whole = ablator.generate_many(one, conditions, 6)

    def counting(self, token_ids, **extra):
        fed.append(token_ids.shape[1])
        return forward(self, token_ids, **extra)

    monkeypatch.setattr(FastDecoder, "_forward", counting)
    runs = ablator.generate_many(one, conditions, 6, batch_size=batch_size)
    assert [n for n in fed if n > 1] == [len(one.token_ids) - n_left]
    for name, run in runs.items():
        assert run.tokens.tolist() == whole[name].tokens.tolist()


@pytest.mark.parametrize("engine", ["fast", "hooks"])
@pytest.mark.parametrize("keep_kv", ["ablated", "clean"])
@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_rows_of_sliding_windows_go_back_to_one_prefill(family, keep_kv, engine, monkeypatch):
    from retrieval_lens.tracing.fast import FastDecoder
    from retrieval_lens.tracing.hooked import HookedDecoder

    one, options = example(), {"keep_kv": keep_kv, "engine": engine}
    bridge = tiny_bridge(family)
    head = bridge.original_model.lm_head  # tied to the embedding it would repeat its last token
    noise = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(0))
    head.weight = torch.nn.Parameter(noise)
    ablator = rl.Ablator(bridge)
    always = rl.HeadSet(["L0H1", "L1H2", "L2H0"])
    conditions = {"a": always, "none": None, "b": rl.HeadSet(["L1H0"]), "again": always}
    alone = {name: ablator.generate(one, heads, 8, **options) for name, heads in conditions.items()}
    assert alone["a"].tokens.tolist() != alone["none"].tokens.tolist(), "else this shows nothing"
    decoder = {"fast": FastDecoder, "hooks": HookedDecoder}[engine]
    prefilled, prefill = [], decoder.prefill

    def counting(self, prompts, *rest):
        prefilled.append(len(prompts))
        return prefill(self, prompts, *rest)

    monkeypatch.setattr(decoder, "prefill", counting)
    runs = ablator.generate_many(one, conditions, 8, **options)
    assert prefilled == [1]
    for name, run in runs.items():
        assert run.tokens.tolist() == alone[name].tokens.tolist(), name


def test_the_trace_of_another_prompt_or_model_is_refused(bridge, copier):
    trace = rl.RetrievalTracer(bridge).trace(example(0), 3)
    with pytest.raises(InputError, match="not of example 'tiny-1'"):
        rl.Ablator(bridge).generate(example(1), rl.TimeShifted(), 3, trace=trace)
    other = tiny_bridge("gpt2")
    with pytest.raises(InputError, match="trace with the same model"):
        rl.Ablator(other).step_effect(trace, ["L0H0"])


def test_infinite_logits_under_the_mask_are_an_error(bridge):
    class Overflow(rl.AblationMode):
        name = "overflow"

        def z(self, layer, z):
            return z * float("inf")

    trace = rl.RetrievalTracer(bridge).trace(example(0), 3)
    with pytest.raises(NumericalError, match="NaN or infinite"):
        rl.Ablator(bridge, Overflow()).step_effect(trace, ["L0H0"])


def test_nothing_is_kept_of_a_prefill(copier):
    from retrieval_lens.tracing.engine import open_decoder

    one = copying_example()
    with open_decoder(copier, "fast", lambda layer, row: None, replays=True) as decoder:
        decoder.prefill([one.token_ids], 2)
        assert decoder.blocks.outputs == [None] * len(decoder.blocks.blocks)
        decoder.step(one.token_ids[-1:])
        assert all(output is not None for output in decoder.blocks.outputs)


def test_fixed_heads_need_no_copy_paste_in_the_trace(bridge):
    trace = rl.RetrievalTracer(bridge, [rl.Reasoning(n_sink=2, n_local=6)]).trace(example(0), 3)
    score = rl.Reasoning(n_sink=2, n_local=6)
    frame = rl.Ablator(bridge).step_effect(trace, ["L0H0"], score=score)
    assert len(frame) == trace.n_steps and frame.kl.max() > 0
    with pytest.raises(InputError, match="trace again"):
        rl.Ablator(bridge).step_effect(trace, ["L0H0"])
