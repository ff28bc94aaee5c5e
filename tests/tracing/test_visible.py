"""Hidden positions have no influence, and the visible ones stay where they are."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, FalconConfig

import retrieval_lens as rl
from retrieval_lens.errors import ContextLengthError, NumericalError, UnsupportedModelError
from retrieval_lens.models import checkpoint_folder, hook_names
from retrieval_lens.tracing.fast import FastDecoder
from retrieval_lens.tracing.visible import VisibleSession
from retrieval_lens.tracing.visible_run import require_positions
from tests.tiny_models import FAMILIES, N_CTX, WINDOW, longrope_config, tiny_bridge, tiny_hf
from tests.tracing import reference

LAST = hook_names.FINAL_NORM_OUT
N, STEPS = 60, 5
WINDOWED = {"mistral": [True] * 3, "gemma3": [True, False, True]}  # layers with a sliding window
ENGINES = ["fast", "hooks"]


def never(tokens):
    return False


def tokens(n=N, seed=0):
    return torch.randint(3, 199, (n,), generator=torch.Generator().manual_seed(seed))


def with_holes(n=N):
    """The very first tokens, more than a window in a row, and two near the end are hidden."""
    visible = torch.ones(n, dtype=torch.bool)
    for start, end in ((0, 2), (8, 40), (n - 10, n - 9), (n - 2, n - 1)):
        visible[start:end] = False
    return visible


def replaced(ids, where, seed=1):
    others = ids.clone()
    others[where] = (ids[where] - 3 + 1 + tokens(int(where.sum()), seed)) % 196 + 3
    others[where & (others == ids)] = 3
    return others


def respond(model, ids, visible, engine, n=STEPS):
    with VisibleSession(model, [LAST], engine) as session:
        session.begin(ids, visible, n)
        return session.generate(n, never, rows=True)


def assert_same(one, other, atol):
    assert one.tokens.tolist() == other.tokens.tolist()
    torch.testing.assert_close(one.logits, other.logits, atol=atol, rtol=0)
    torch.testing.assert_close(one.hidden, other.hidden, atol=atol, rtol=0)
    for ours, theirs in zip(one.rows, other.rows, strict=True):
        torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def masks_by_hand(visible, n, family):
    """What transformers adds to the scores, `[1, 1, query, key]`, a layer kind each."""
    query, key = np.ogrid[:n, :n]
    seen = np.append(visible.numpy(), np.ones(n - len(visible), dtype=bool))
    full = (key <= query) & seen[key]
    near = full & (key > query - WINDOW)
    full, near = (
        torch.tensor(np.where(x, 0, np.finfo(np.float32).min), dtype=torch.float32)[None, None]
        for x in (full, near)
    )
    if family == "gemma3":
        return {"full_attention": full, "sliding_attention": near}
    return near if family == "mistral" else full


@torch.no_grad()
def plain_run(model, ids, mask):
    """Logits, hidden states and rows of every position, in one pass without a cache."""
    return model(
        ids[None],
        attention_mask=mask,
        position_ids=torch.arange(len(ids))[None],
        output_attentions=True,
        output_hidden_states=True,
    )


def assert_equals_plain(response, ids, out, atol=1e-4):
    first, n = len(ids) - 1, len(response.tokens)
    logits = out.logits[0, first : first + n]
    assert response.tokens.tolist() == logits.argmax(-1).tolist()
    torch.testing.assert_close(response.logits, logits, atol=atol, rtol=0)
    hidden = out.hidden_states[-1][0, first : first + n]
    torch.testing.assert_close(response.hidden[LAST], hidden, atol=atol, rtol=0)
    for step, rows in enumerate(response.rows):
        for layer, theirs in enumerate(out.attentions):
            row = theirs[0, :, first + step, : first + step + 1]
            torch.testing.assert_close(rows[layer], row, atol=atol, rtol=0)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def bridge(family):
    return tiny_bridge(family)


@pytest.fixture(scope="module")
def llama():
    return tiny_bridge("llama-gqa")


@pytest.fixture(scope="module")
def plain(family):
    model = tiny_hf(family)
    model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize("engine", ENGINES)
def test_hidden_tokens_have_no_influence(bridge, engine):
    ids, visible = tokens(), with_holes()
    ours = respond(bridge, ids, visible, engine)
    assert_same(ours, respond(bridge, replaced(ids, ~visible), visible, engine), 1e-5)
    for rows in ours.rows:
        for row in rows.values():
            assert (row[:, :N][:, ~visible] == 0).all()
            torch.testing.assert_close(row.sum(1), torch.ones(len(row)))
    changed = torch.zeros(N, dtype=torch.bool)
    changed[45] = True  # visible, and within the sliding windows
    other = respond(bridge, replaced(ids, changed), visible, engine)
    assert (other.logits[0] - ours.logits[0]).abs().max() > 1e-2
    everything = respond(bridge, ids, torch.ones(N, dtype=torch.bool), engine)
    assert (everything.logits[0] - ours.logits[0]).abs().max() > 1e-2


@pytest.mark.parametrize("engine", ENGINES)
def test_equals_plain_transformers_with_a_mask(bridge, plain, family, engine):
    ids, visible = tokens(), with_holes()
    response = respond(bridge, ids, visible, engine)
    whole = torch.cat([ids, response.tokens[:-1]])
    by_hand = plain_run(plain, whole, masks_by_hand(visible, len(whole), family))
    assert_equals_plain(response, ids, by_hand)
    seen = torch.cat([visible, visible.new_ones(STEPS - 1)]).long()[None]
    assert_equals_plain(response, ids, plain_run(plain, whole, seen))


def test_only_full_attention_leaves_out(bridge, family):
    fast, hooks = (VisibleSession(bridge, engine=engine).run for engine in ENGINES)
    assert fast.leaves_out == (family not in WINDOWED) and not hooks.leaves_out


@pytest.mark.parametrize("engine", ENGINES)
def test_all_visible_is_ordinary_decoding(bridge, engine):
    ids = tokens(40)
    one = rl.RetrievalExample("tiny", "", ids, torch.tensor([9]), ())
    trace = rl.RetrievalTracer(bridge, include_eos=True).trace(one, STEPS, engine)
    ours = respond(bridge, ids, torch.ones(40, dtype=torch.bool), engine, trace.n_steps)
    assert ours.tokens.tolist() == trace.tokens.tolist()
    torch.testing.assert_close(ours.hidden[LAST], trace.hidden, atol=1e-5, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_extending_equals_step_by_step(bridge, engine):
    ids, visible, known = tokens(), with_holes(), tokens(24, seed=5).tolist()
    with VisibleSession(bridge, [LAST], engine) as session:
        session.begin(ids, visible, 30)
        for token in (int(ids[-1]), *known[:-1]):
            session.step(token)
        slowly = session.step(known[-1], rows=True)
        session.begin(ids, visible, 30)
        session.extend(known[:20])
        session.extend(known[20:])
        at_once = session.step(rows=True)
        session.begin(torch.cat([ids, torch.tensor(known)]), with_response(visible, 24), 1)
        as_prompt = session.step(rows=True)
    for other in (at_once, as_prompt):
        torch.testing.assert_close(vars(other), vars(slowly), atol=1e-4, rtol=0)


def with_response(visible, n):
    return torch.cat([visible, visible.new_ones(n)])


def test_generate_goes_on_where_it_stopped(llama):
    ids, visible = tokens(), with_holes()
    whole = respond(llama, ids, visible, "fast", 6)
    with VisibleSession(llama) as session:
        session.begin(ids, visible, 6)
        first = session.generate(6, lambda so_far: len(so_far) == 2)
        assert session.pending == first.tokens[-1] and first.rows == () and first.hidden == {}
        second = session.generate(4, never)
    assert [*first.tokens, *second.tokens] == whole.tokens.tolist()


def test_one_visible_token_alone(bridge):
    ids, visible = tokens(20), torch.zeros(20, dtype=torch.bool)
    visible[-1] = True
    fast, hooks = (respond(bridge, ids, visible, engine, 2) for engine in ENGINES)
    assert_same(fast, hooks, 1e-4)
    assert all((row[:, -1] == 1).all() for row in fast.rows[0].values())
    alone = respond(bridge, ids[-1:], visible[-1:], "fast", 2)
    assert len(alone.rows[0][0][0]) == 1


def count_fed(monkeypatch):
    fed, forward = [], FastDecoder._forward

    def counting(self, token_ids, **extra):
        fed.append(token_ids.shape[1])
        return forward(self, token_ids, **extra)

    monkeypatch.setattr(FastDecoder, "_forward", counting)
    return fed


def test_only_what_is_visible_and_new_is_computed(llama, monkeypatch):
    ids, visible = tokens(120), torch.ones(120, dtype=torch.bool)
    visible[10:30] = False
    more = visible.clone()
    more[80:90] = False
    sooner = visible.clone()
    sooner[29] = True
    expected = {x: respond(llama, ids, y, "fast", 3) for x, y in ((0, visible), (1, more))}
    moved = respond(llama, ids, sooner, "fast", 3)
    fed = count_fed(monkeypatch)
    with VisibleSession(llama, [LAST]) as session:
        session.begin(ids, visible, 3)
        assert fed == [99]
        first = session.generate(3, never, rows=True)
        session.begin(ids, more, 3)  # alike up to position 79, that is 60 slots
        assert fed == [99, 1, 1, 1, 29]
        assert_same(session.generate(3, never, rows=True), expected[1], 1e-4)
        session.begin(ids, sooner, 3)  # alike up to position 9: not worth it
        assert fed[-1] == 100
        assert_same(session.generate(3, never, rows=True), moved, 1e-4)
        session.begin(ids, visible, 3)
        assert fed[-1] == 99
        session.generate(3, never)
        n_passes = len(fed)
        session.begin(torch.cat([ids, first.tokens]), with_response(visible, 3), 3)
        assert len(fed) == n_passes  # the response was run already, but for its last token
    assert_same(first, expected[0], 1e-5)


def test_equal_tokens_at_other_positions_are_not_shared(llama):
    ids, early = torch.full((120,), 7), torch.ones(120, dtype=torch.bool)
    early[40:50] = False
    late = early.roll(40)  # the visible tokens are the same ones, their positions are not
    with VisibleSession(llama, [LAST]) as session:
        session.begin(ids, early, 2)
        session.begin(ids, late, 2)
        ours = session.generate(2, never, rows=True)
    assert_same(ours, respond(llama, ids, late, "fast", 2), 1e-4)


def test_changed_weights_share_nothing():
    model, ids, visible = tiny_bridge("llama-gqa"), tokens(), torch.ones(N, dtype=torch.bool)
    with VisibleSession(model, [LAST]) as session:
        session.begin(ids, visible, 2)
        with torch.no_grad():
            next(p for n, p in model.original_model.named_parameters() if "v_proj" in n).mul_(1.5)
        session.begin(ids, visible, 2)
        ours = session.generate(2, never, rows=True)
        assert_same(ours, respond(model, ids, visible, "fast", 2), 1e-5)


def test_longrope_masks_and_keeps_its_border():
    config = longrope_config()
    torch.manual_seed(0)
    model = rl.load_model(hf_model=AutoModelForCausalLM.from_config(config).eval())
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(config).eval()
    plain.set_attn_implementation("eager")
    ids, visible = tokens(80), torch.ones(80, dtype=torch.bool)
    visible[30:79] = False  # what is visible of the prompt lies below the border
    for engine in ENGINES:
        response = respond(model, ids, visible, engine, 3)
        whole = torch.cat([ids, response.tokens[:-1]])
        out = plain_run(plain, whole, masks_by_hand(visible, len(whole), "phi3"))
        assert_equals_plain(response, ids, out)
    with VisibleSession(model) as session, pytest.raises(ContextLengthError, match="position 64"):
        session.begin(ids[:60], visible[:60].fill_(True), 8)


def hooks_on(model):
    return [name for name, point in model.hook_dict.items() if point.has_hooks()]


def test_hooks_of_the_user_are_seen(llama):
    ids, visible, shapes = tokens(), with_holes(), []

    def silence(z, hook):
        return torch.zeros_like(z)

    def look(pattern, hook):
        shapes.append(tuple(pattern.shape[-2:]))

    without = respond(llama, ids, visible, "fast", 2)
    with llama.hooks(fwd_hooks=[(hook_names.z(1), silence), (hook_names.pattern(0), look)]):
        with VisibleSession(llama, [LAST]) as session:
            assert session.engine == "hooks" and "would not be seen" in session.engine_reason
            session.begin(ids, visible, 2)
            hooked = session.generate(2, never)
        with pytest.raises(rl.errors.InputError, match="would not be seen"):
            VisibleSession(llama, engine="fast")
    assert shapes == [(N - 1, N - 1), (1, N), (1, N + 1)]
    assert (hooked.logits[0] - without.logits[0]).abs().max() > 1e-2
    late = llama.hooks(fwd_hooks=[(hook_names.z(1), silence)])
    refused = pytest.raises(rl.errors.InputError, match="would not be seen")
    with VisibleSession(llama) as session, late, refused:
        session.begin(ids, visible, 2)
    assert hooks_on(llama) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_no_hook_is_left_behind(llama, engine):
    def n_on_modules(decoder):
        modules = [*getattr(decoder, "modules", {}).values()]
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m, _ in modules)

    session = VisibleSession(llama, [LAST], engine)
    with pytest.raises(ZeroDivisionError), session:
        assert n_on_modules(session.run.decoder) + len(hooks_on(llama)) > 0
        raise ZeroDivisionError
    assert n_on_modules(session.run.decoder) == 0 and hooks_on(llama) == []
    with pytest.raises(rl.errors.InputError, match="with block"):
        session.begin(tokens(), with_holes(), 2)


def test_after_a_failure_the_sequence_begins_anew(llama, monkeypatch):
    ids, visible = tokens(), torch.ones(N, dtype=torch.bool)
    expected = respond(llama, ids, visible, "fast", 2)
    with VisibleSession(llama, [LAST]) as session:
        session.begin(ids, visible, 2)
        with monkeypatch.context() as patch:
            patch.setattr(session.run.decoder, "run", lambda *args, **extra: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                session.step()
        with pytest.raises(rl.errors.InputError, match="no token is pending"):
            session.step()
        with pytest.raises(rl.errors.InputError, match="room for 0"):
            session.step(5)
        session.begin(ids, visible, 2)
        assert_same(session.generate(2, never, rows=True), expected, 1e-5)


BAD_BEGIN = {
    "no tokens": (torch.zeros(0).long(), torch.zeros(0).bool(), 2, "at least one"),
    "a batch": (tokens()[None], with_holes()[None], 2, r"\[pos\]"),
    "fractions": (tokens().float(), with_holes(), 2, "of integers"),
    "too short": (tokens(), with_holes()[:-1], 2, "one a token"),
    "not bool": (tokens(), with_holes().long(), 2, "must be bool"),
    "hidden end": (tokens(), ~torch.ones(N, dtype=torch.bool), 2, "last token is hidden"),
    "nothing new": (tokens(), with_holes(), 0, "at least 1"),
    "half a token": (tokens(), with_holes(), 2.5, "whole number"),
    "foreign ids": (tokens() + 150, with_holes(), 2, "outside 0..198"),
    "too long": (tokens(), with_holes(), N_CTX, "context is 256"),
}


@pytest.mark.parametrize("case", BAD_BEGIN)
def test_bad_sequences_are_refused(llama, case):
    *arguments, message = BAD_BEGIN[case]
    with VisibleSession(llama) as session, pytest.raises(rl.errors.InputError, match=message):
        session.begin(*arguments)


def test_bad_steps_are_refused(llama):
    refused = rl.errors.InputError
    with VisibleSession(llama) as session:
        with pytest.raises(refused, match="no token is pending"):
            session.generate(1, never)
        ids = tokens()
        session.begin(ids, with_holes(), 2)
        with pytest.raises(refused, match="is pending, not"):
            session.step(int(ids[-1]) + 1 if ids[-1] < 198 else 3)
        with pytest.raises(refused, match="0..198"):
            session.extend([5, 199])
        with pytest.raises(refused, match="no tokens"):
            session.extend([])
        with pytest.raises(refused, match="whole number"):
            session.extend([1.5])
        with pytest.raises(refused, match="4 tokens would run, but there is room for 3"):
            session.extend([5, 6, 7])
        with pytest.raises(refused, match="at least 1"):
            session.generate(0, never)
        with pytest.raises(refused, match="room for 3"):
            session.generate(4, never)
        session.extend([5, 6])
        session.step(6)
        with pytest.raises(refused, match="room for 0"):
            session.step(7)


def test_overflow_is_told():
    model = tiny_bridge("llama-gqa")
    with torch.no_grad():
        model.original_model.get_output_embeddings().weight.fill_(float("inf"))
    with VisibleSession(model, engine="hooks") as session, pytest.raises(NumericalError):
        session.begin(tokens(), with_holes(), 2)
        session.step()


SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize("config", [BloomConfig(**SMALL), FalconConfig(alibi=True, **SMALL)])
def test_models_that_count_positions_themselves_are_refused(config):
    model = SimpleNamespace(original_model=AutoModelForCausalLM.from_config(config))
    with pytest.raises(UnsupportedModelError, match="derives positions by itself"):
        require_positions(model)


@pytest.fixture(scope="module")
def hf_smollm2():
    folder = checkpoint_folder("smollm2-135m")
    kwargs = {"dtype": torch.float32, "attn_implementation": "eager"}
    return AutoModelForCausalLM.from_pretrained(folder, **kwargs).eval()


def test_the_real_model(smollm2, hf_smollm2):
    one = rl.needle_example(smollm2.tokenizer, n_tokens=200, depth=0.5, seed=0)
    ids, visible = one.token_ids, torch.ones(len(one.token_ids), dtype=torch.bool)
    visible[30:170] = False
    fast, hooks = (respond(smollm2, ids, visible, engine, 4) for engine in ENGINES)
    whole = torch.cat([ids, fast.tokens[:-1]])
    out = plain_run(hf_smollm2, whole, masks_by_hand(visible, len(whole), "llama"))
    assert_equals_plain(fast, ids, out)
    assert_equals_plain(hooks, ids, out)
    for engine, ours in zip(ENGINES, (fast, hooks), strict=True):
        others = replaced(ids, ~visible)
        assert_same(ours, respond(smollm2, others, visible, engine, 4), 1e-5)
    changed = torch.zeros(len(ids), dtype=torch.bool)
    changed[25] = True
    other = respond(smollm2, replaced(ids, changed), visible, "fast", 1)
    assert (other.logits[0] - fast.logits[0]).abs().max() > 1e-2
    expected = reference.decode(hf_smollm2, ids, {2}, 8)
    everything = torch.ones(len(ids), dtype=torch.bool)
    assert respond(smollm2, ids, everything, "fast", 8).tokens.tolist() == expected.tokens
