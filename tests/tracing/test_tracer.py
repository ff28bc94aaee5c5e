"""Engines, the user's hooks, bad input, and what is left behind."""

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
from retrieval_lens.tracing import engine as engines
from retrieval_lens.tracing.limits import check_context
from tests.tiny_models import N_CTX, longrope_config, tiny_bridge, tiny_hf
from tests.tracing.test_families import example


@pytest.fixture
def bridge():
    return tiny_bridge("llama-gqa")


def silence(z, hook):
    z[:, :, 0] = 0
    return z


def test_hooks_of_the_user_are_seen(bridge):
    tracer = rl.RetrievalTracer(bridge)
    plain = tracer.trace(example(), 6)
    with bridge.hooks(fwd_hooks=[("blocks.0.attn.hook_z", silence)]):
        hooked = tracer.trace(example(), 6)
        with pytest.raises(InputError, match="hooks on the model would not be seen .*blocks.0"):
            tracer.trace(example(), 6, engine="fast")
    assert plain.provenance["conventions"]["engine"] == "fast"
    assert hooked.provenance["conventions"]["engine"] == "hooks"
    assert not torch.allclose(hooked.hidden[0], plain.hidden[0])
    again = tracer.trace(example(), 6)
    assert torch.equal(again.hidden, plain.hidden)


def test_a_hooked_trace_equals_plain_transformers_with_the_same_edit(bridge):
    from tests.tracing import reference

    model = tiny_hf("llama-gqa").eval()
    model.set_attn_implementation("eager")
    o_proj = model.model.layers[0].self_attn.o_proj

    def edit(module, args):
        z = args[0].clone()
        z[..., :16] = 0  # head 0 of 4 with d_head 16
        return (z,)

    o_proj.register_forward_pre_hook(edit)
    expected = reference.decode(model, example().token_ids, {2}, 6)
    with bridge.hooks(fwd_hooks=[("blocks.0.attn.hook_z", silence)]):
        trace = rl.RetrievalTracer(bridge).trace(example(), 6)
    assert trace.tokens.tolist() == expected.tokens
    torch.testing.assert_close(trace.hidden, torch.tensor(expected.hidden), atol=1e-4, rtol=1e-4)


def test_hooks_on_the_original_modules_are_seen(bridge):
    handle = bridge.original_model.get_input_embeddings().register_forward_hook(
        lambda module, args, out: out * 1.5
    )
    try:
        trace = rl.RetrievalTracer(bridge).trace(example(), 4)
    finally:
        handle.remove()
    assert trace.provenance["conventions"]["engine"] == "hooks"


def test_edited_weights_are_seen(bridge):
    tracer = rl.RetrievalTracer(bridge)
    before = tracer.trace(example(), 4)
    with torch.no_grad():
        bridge.original_model.get_output_embeddings().weight.mul_(-1)
    after = tracer.trace(example(), 4)
    assert after.tokens.tolist() != before.tokens.tolist()
    bridge.to(torch.float64)
    moved = tracer.trace(example(), 4)
    assert moved.tokens.tolist() == after.tokens.tolist()
    assert moved.provenance["model"]["dtype"] == "float64"


@pytest.mark.parametrize("family", ["gpt2", "phi3", "gpt-neox"])
def test_edits_of_split_weights_are_seen_even_through_data(family):
    bridge = tiny_bridge(family)
    tracer = rl.RetrievalTracer(bridge)
    before = tracer.trace(example(), 4)
    bridge.blocks[0].attn.q.weight.data.mul_(-1)
    after = tracer.trace(example(), 4)
    assert not torch.allclose(after.top_weights, before.top_weights)
    expected = tracer.trace(example(), 4, engine="hooks")
    torch.testing.assert_close(after.scores["reasoning"], expected.scores["reasoning"])


def test_a_trace_can_be_trained_on(bridge):
    trace = rl.RetrievalTracer(bridge).trace(example(), 4)
    probe = torch.nn.Linear(trace.hidden.shape[1], 12)
    loss = (probe(trace.hidden) - trace.scores["reasoning"].flatten(1)).square().mean()
    loss.backward()
    assert probe.weight.grad is not None


def test_a_fast_engine_that_differs_is_not_used(bridge, monkeypatch):
    from retrieval_lens.tracing import fast_attention

    right = fast_attention.attention

    def wrong(module, query, *args, **kwargs):
        return right(module, query * 1.5, *args, **kwargs)

    monkeypatch.setattr(fast_attention, "attention", wrong)
    tracer = rl.RetrievalTracer(bridge)
    trace = tracer.trace(example(), 4)
    reason = trace.provenance["conventions"]["engine_reason"]
    assert "differ from the hooks'" in reason
    with pytest.raises(InputError, match="cannot be used: its rows differ"):
        tracer.trace(example(), 4, engine="fast")
    monkeypatch.undo()
    fast_attention.register()
    expected = rl.RetrievalTracer(tiny_bridge("llama-gqa")).trace(example(), 4)
    torch.testing.assert_close(trace.scores["reasoning"], expected.scores["reasoning"])


def test_soft_capping_falls_back_to_hooks():
    from transformers import AutoModelForCausalLM, Gemma2Config

    config = Gemma2Config(
        vocab_size=199, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=16,
        max_position_embeddings=256, query_pre_attn_scalar=16, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = rl.load_model(hf_model=AutoModelForCausalLM.from_config(config).eval())
    trace = rl.RetrievalTracer(model).trace(example(), 4)
    assert trace.provenance["conventions"]["engine"] == "hooks"
    assert "softcap" in trace.provenance["conventions"]["engine_reason"]


def test_nothing_is_left_behind_after_an_exception(bridge):
    class Failing(rl.CopyPaste):
        def observe(self, rows):
            raise RuntimeError("stop here")

    for engine in ("fast", "hooks"):
        with pytest.raises(RuntimeError, match="stop here"):
            rl.RetrievalTracer(bridge, [Failing()]).trace(example(), 4, engine)
    with pytest.raises(RuntimeError), rl.RetrievalTracer(bridge, [Failing()]).record([3]):
        bridge(example().token_ids[None])
    assert not any(point.has_hooks() for point in bridge.hook_dict.values())
    assert not engines.user_hooks(bridge)
    twin = engines.FastDecoder(bridge, lambda i, row: None, ()).twin
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in twin.modules())


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (["copy_paste"], "a score is an object such as CopyPaste.*not 'copy_paste'"),
        ([rl.CopyPaste], "a score is an object"),
        ([], "scores is empty"),
        ([rl.CopyPaste(), rl.CopyPaste()], "same name.*copy_paste"),
    ],
)
def test_scores_of_the_wrong_kind(bridge, scores, message):
    with pytest.raises(InputError, match=message):
        rl.RetrievalTracer(bridge, scores)


def test_prompts_that_do_not_fit(bridge):
    tracer = rl.RetrievalTracer(bridge)
    with pytest.raises(ContextLengthError, match=f"{N_CTX} tokens .* context is {N_CTX}; short"):
        tracer.trace(example(N_CTX), 4)
    with pytest.raises(ContextLengthError, match="max_new_tokens to at most 16"):
        tracer.trace(example(N_CTX - 16), 17)
    assert tracer.trace(example(N_CTX - 16), 16).n_steps > 0
    with pytest.raises(ContextLengthError):
        tracer.trace_many([example(), example(N_CTX)], max_new_tokens=4)
    foreign = rl.RetrievalExample("x", "", torch.tensor([5, 500]), torch.tensor([0]), ())
    with pytest.raises(InputError, match="outside 0..198: it was made with another"):
        tracer.trace(foreign, 4)


def test_other_bad_arguments(bridge):
    tracer = rl.RetrievalTracer(bridge)
    with pytest.raises(InputError, match="'auto', 'fast' or 'hooks', not 'quick'"):
        tracer.trace(example(), 4, engine="quick")
    with pytest.raises(InputError, match="max_new_tokens must be at least 1"):
        tracer.trace(example(), 0)
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        tracer.trace_many([example()], batch_size=0)
    with pytest.raises(InputError, match="n_top must not be negative"):
        rl.RetrievalTracer(bridge, n_top=-1)
    with pytest.raises(InputError, match="no hook 'blocks.77.hook_out'"):
        rl.RetrievalTracer(bridge, hidden_at=("blocks.77.hook_out",)).trace(example(), 4)
    assert tracer.trace_many([]) == []


def test_longrope_border_is_refused():
    from transformers import AutoModelForCausalLM

    config = longrope_config()
    torch.manual_seed(0)
    model = rl.load_model(hf_model=AutoModelForCausalLM.from_config(config).eval())
    tracer = rl.RetrievalTracer(model)
    from tests.tracing import reference

    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(config).eval()
    plain.set_attn_implementation("eager")
    for n in (40, 80):  # below the border, above it
        for engine in ("fast", "hooks"):
            trace = tracer.trace(example(n), 8, engine)
            expected = reference.decode(plain, example(n).token_ids, (), 8)
            hidden = torch.tensor(expected.hidden)
            torch.testing.assert_close(trace.hidden, hidden, atol=1e-4, rtol=1e-4)
    with pytest.raises(ContextLengthError, match="would cross position 64"):
        tracer.trace(example(60), 8)


def test_not_a_number_is_refused(bridge):
    with torch.no_grad():
        bridge.original_model.model.layers[1].self_attn.q_proj.weight[0] = float("nan")
    with pytest.raises(NumericalError, match="attention row holds NaN"):
        rl.RetrievalTracer(bridge, n_top=0).trace(example(), 4, engine="hooks")
    ids = example().token_ids
    _, cache = bridge.run_with_cache(ids[None])
    with pytest.raises(NumericalError, match="NaN or infinity"):
        rl.RetrievalTracer(bridge).scores_from_cache(cache, ids, [3])


def test_a_late_overflow_is_refused(bridge):
    with torch.no_grad():
        bridge.original_model.model.layers[2].mlp.down_proj.weight[0] = float("nan")
    for engine in ("auto", "hooks"):
        with pytest.raises(NumericalError, match="logits are NaN or infinite"):
            rl.RetrievalTracer(bridge).trace(example(), 4, engine)


def test_training_mode_is_refused(bridge):
    bridge.train()
    with pytest.raises(InputError, match="call model.eval"):
        rl.RetrievalTracer(bridge).trace(example(), 4)


def test_scores_that_read_differently_cannot_share_an_observation(bridge):
    class Second(rl.CopyPaste):
        def observe(self, rows):
            return super().observe(rows) * 0

    with pytest.raises(InputError, match="observe the same but read rows differently"):
        rl.RetrievalTracer(bridge, [rl.CopyPaste(), Second(name="second")])


def test_an_answer_that_ends_at_once(bridge):
    first = int(rl.RetrievalTracer(bridge).trace(example(), 1).tokens[0])
    bridge.original_model.generation_config.eos_token_id = first
    trace = rl.RetrievalTracer(bridge, include_eos=False).trace(example(), 6)
    assert (trace.n_steps, trace.truncated) == (0, False)
    assert trace.scores["reasoning"].shape == (0, 3, 4)


def test_evidence_that_is_no_position(bridge):
    tracer, ids = rl.RetrievalTracer(bridge), example().token_ids
    _, cache = bridge.run_with_cache(ids[None])
    for mask in (ids > 5, ids.float()):
        with pytest.raises(EvidenceError, match="give positions, as mask.nonzero"):
            tracer.scores_from_cache(cache, ids, mask)
        with pytest.raises(EvidenceError, match="give positions"), tracer.record(mask):
            pass


def test_passes_that_cannot_be_recorded(bridge):
    tracer, ids = rl.RetrievalTracer(bridge), example().token_ids[None]
    with tracer.record([3]) as recorder:
        bridge(ids, stop_at_layer=1)
    with pytest.raises(InputError, match="did not run through every layer"):
        _ = recorder.scores
    embedded = bridge.original_model.get_input_embeddings()(ids)
    with pytest.raises(InputError, match="fed token ids, not embeddings"), tracer.record([3]):
        bridge(embedded)


def test_no_copy_can_come_from_what_is_ahead(bridge):
    ids = torch.tensor([9, 5, 6, 7, 5, 6, 7])
    _, cache = bridge.run_with_cache(ids[None])
    scores = [rl.CopyPaste(match="position")]
    from retrieval_lens.scores import DecodedSteps, copy_targets

    steps = DecodedSteps(
        ids, 0, torch.arange(7), torch.tensor([5, 6, 7, 5, 6, 7, -1]), torch.arange(7)
    )
    for query, targets in enumerate(copy_targets(steps, "position")):
        assert not targets[query + 1 :].any()
    whole = rl.RetrievalTracer(bridge, scores).scores_from_cache(cache, ids, range(7))
    assert whole["copy_paste_position"].shape == (7, 3, 4)


def test_record_knows_where_the_response_begins(bridge):
    ids = torch.tensor([9, 5, 6, 5, 7, 9, 5, 6, 5])
    results = []
    for prompt_length in (6, None):
        tracer = rl.RetrievalTracer(bridge, [rl.CopyPaste(match="position")])
        with tracer.record([1, 2, 3, 4], prompt_length) as recorder:
            bridge(ids[None])
        results.append(recorder.first_pass if prompt_length is None else recorder.prompt_length)
        assert recorder.scores["copy_paste_position"].shape[0] == 9
    assert results == [6, 9]


def test_bad_caches(bridge):
    tracer = rl.RetrievalTracer(bridge)
    ids = example(20, evidence=(3, 4)).token_ids
    _, cache = bridge.run_with_cache(ids[None])
    assert tracer.scores_from_cache(cache, ids, [3, 4])["reasoning"].shape == (20, 3, 4)
    with pytest.raises(InputError, match="20 query and key positions|has 19 tokens"):
        tracer.scores_from_cache(cache, ids[1:], [3])
    with pytest.raises(EvidenceError, match="the evidence is empty"):
        tracer.scores_from_cache(cache, ids, [])
    with pytest.raises(EvidenceError, match="positions 0 to 19"):
        tracer.scores_from_cache(cache, ids, [20])
    with pytest.raises(InputError, match="3 predictions for 20 tokens"):
        tracer.scores_from_cache(cache, ids, [3], predictions=torch.tensor([1, 2, 3]))
    part = {name: cache[name] for name in ["blocks.0.attn.hook_pattern"]}
    with pytest.raises(InputError, match="lacks 'blocks.1.attn.hook_pattern'"):
        tracer.scores_from_cache(part, ids, [3])
    _, batch = bridge.run_with_cache(ids[None].repeat(2, 1))
    with pytest.raises(InputError, match="a batch of 2"):
        tracer.scores_from_cache(batch, ids, [3])


def test_record_follows_caches_and_begins_anew(bridge):
    tracer = rl.RetrievalTracer(bridge)
    one = example(20, evidence=(3, 4))
    with tracer.record(one.evidence) as recorder:
        bridge.generate(one.token_ids[None], max_new_tokens=5, do_sample=False, verbose=False)
        generated = recorder.scores
        n_generated = len(recorder.token_ids)
        bridge(one.token_ids[None])
    trace = tracer.trace(one, 5)
    rows = slice(19, n_generated)
    torch.testing.assert_close(
        generated["reasoning"][rows], trace.scores["reasoning"][: n_generated - 19]
    )
    assert recorder.scores["reasoning"].shape[0] == 20
    with pytest.raises(InputError, match="one prompt at a time"), tracer.record([3]):
        bridge(one.token_ids[None].repeat(2, 1))
    with tracer.record([25]) as outside:
        bridge(one.token_ids[None])
    with pytest.raises(EvidenceError, match="positions 0 to 19"):
        _ = outside.scores
    with tracer.record([3]) as idle:
        pass
    with pytest.raises(InputError, match="nothing was recorded"):
        _ = idle.scores
    with pytest.raises(EvidenceError, match="is empty"), tracer.record([]):
        pass


def test_end_of_sequence_counts_unless_told_otherwise(bridge):
    free = rl.RetrievalTracer(bridge).trace(example(), 6)
    stop = int(free.tokens[2])
    bridge.original_model.generation_config.eos_token_id = stop
    counted = rl.RetrievalTracer(bridge).trace(example(), 6)
    n = free.tokens.tolist().index(stop) + 1
    assert (counted.n_steps, counted.truncated) == (n, False)
    assert counted.scores["reasoning"].equal(free.scores["reasoning"][:n])
    without = rl.RetrievalTracer(bridge, include_eos=False).trace(example(), 6)
    assert (without.n_steps, without.truncated) == (n - 1, False)
    assert free.truncated


def test_same_run_same_numbers(bridge):
    one, two = (rl.RetrievalTracer(bridge).trace(example(), 6) for _ in range(2))
    for name, value in one.scores.items():
        assert torch.equal(value, two.scores[name])
    assert one.provenance == two.provenance


def test_rescore_lift_and_unknown_names(bridge):
    trace = rl.RetrievalTracer(bridge).trace(example(), 6)
    both = rl.RetrievalTracer(bridge, [rl.CopyPaste(match="position")]).trace(example(), 6)
    again = trace.rescore(rl.CopyPaste(match="position"))
    assert again.equal(both.scores["copy_paste_position"])
    looser = trace.rescore(rl.Reasoning(min_mass=0.5))
    direct = rl.RetrievalTracer(bridge, [rl.Reasoning(min_mass=0.5)]).trace(example(), 6)
    assert looser.equal(direct.scores["reasoning"])
    with pytest.raises(InputError, match="needs 'masses.n_sink=1"):
        trace.rescore(rl.Reasoning(n_sink=1))
    lift = trace.lift("reasoning") * trace.chance["reasoning"].view(-1, 1, 1)
    torch.testing.assert_close(lift, trace.scores["reasoning"])
    with pytest.raises(UnknownNameError, match="it has: copy_paste, reasoning"):
        trace.active("induction")
    masses = trace.masses
    counted = masses["denominator"] >= 0.01
    ratio = masses["evidence"][counted] / masses["denominator"][counted]
    torch.testing.assert_close(ratio.clamp(max=1), trace.scores["reasoning"][counted])
    only = rl.RetrievalTracer(bridge, [rl.CopyPaste()], hidden_at=(), n_top=0).trace(example(), 3)
    assert only.top_positions.shape == (3, 3, 4, 0)
    with pytest.raises(InputError, match="masses are kept by the reasoning score"):
        _ = only.masses
    with pytest.raises(InputError, match="holds no hidden states"):
        _ = only.hidden


def test_waiting_rows_are_read_early_when_there_are_too_many(bridge, monkeypatch):
    from retrieval_lens.tracing import recorder

    whole = rl.RetrievalTracer(bridge).trace(example(), 4)
    monkeypatch.setattr(recorder, "WAITING_LIMIT", 1)
    pieces = rl.RetrievalTracer(bridge).trace(example(), 4)
    assert pieces.scores["reasoning"].equal(whole.scores["reasoning"])
    assert pieces.top_positions.equal(whole.top_positions)


def test_a_prompt_of_one_token(bridge):
    one = rl.RetrievalExample("one", "", torch.tensor([7]), torch.tensor([0]), ())
    fast, hooks = (rl.RetrievalTracer(bridge).trace(one, 3, e) for e in ("fast", "hooks"))
    assert fast.tokens.tolist() == hooks.tokens.tolist()
    assert fast.top_positions[0, 0, 0].tolist() == [0] + [-1] * 7


def test_what_is_no_example_is_refused(bridge):
    check_context(bridge, example(), 6)
    with pytest.raises(InputError, match="wanted a RetrievalExample, got str; .*from_text"):
        check_context(bridge, "a prompt", 6)
