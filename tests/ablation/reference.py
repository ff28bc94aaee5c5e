"""Ablation once more, in plain transformers with an attention function of the tests' own.

Nothing here is ours: naive attention over whole patterns; a slice of the output projection's
input is set by a torch hook. Rows of every head are left in `ROWS`.
"""

import copy
import re
from contextlib import contextmanager

import torch
from transformers import AttentionInterface, DynamicCache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

ROWS = {}  # layer -> [head, key], of the last query
EDIT = {}  # mode, heads {(layer, head)}, evidence, first query that is masked


def naive_attention(module, query, key, value, attention_mask, scaling=None, **kwargs):
    layer, n_heads = module.layer_idx, query.shape[1]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    group, n_queries, n_keys = n_heads // key.shape[1], query.shape[2], key.shape[2]
    owner = [head // group for head in range(n_heads)]  # the key-value head of each query head
    hidden_from = torch.zeros(n_queries, n_keys)
    if attention_mask is not None:
        hidden_from = attention_mask[0, 0, :, :n_keys]
    elif n_queries > 1:
        hidden_from = torch.full((n_queries, n_keys), -1e30).triu(n_keys - n_queries + 1)
    logits = torch.einsum("hqd,hkd->hqk", query[0], key[0, owner]) * scaling + hidden_from
    for head in [head for at, head in EDIT.get("heads", ()) if at == layer]:
        if EDIT["mode"] == "uniform":
            logits[head] = torch.where(hidden_from < -1e20, -1e30, 0.0)
        if EDIT["mode"] == "knockout":
            # the keys are the newest ones: absolute position = total - n_keys + index
            for position in EDIT["evidence"]:
                index = position - (EDIT["total"] - n_keys)
                if 0 <= index < n_keys:
                    logits[head, :, index] = float("-inf")
    pattern = (logits - logits.max(-1, keepdim=True).values.clamp(min=-1e20)).exp()
    pattern = torch.where(logits < -1e20, 0.0, pattern)
    total = pattern.sum(-1, keepdim=True)
    pattern = torch.where(total > 0, pattern / total, 0.0)
    ROWS[layer] = pattern[:, -1]
    return torch.einsum("hqk,hkd->qhd", pattern, value[0, owner]).unsqueeze(0), None


def naive(model):
    """The model with naive attention."""
    AttentionInterface.register("naive_of_the_tests", naive_attention)
    AttentionMaskInterface.register("naive_of_the_tests", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    model.set_attn_implementation("naive_of_the_tests")
    return model.eval()


def output_projections(model):
    """The module that mixes the heads, by layer, found by its place and name."""
    found = {}
    for name, module in model.named_modules():
        match = re.search(r"\.(\d+)\.(self_attn|attn|attention)\.(o_proj|c_proj|dense)$", name)
        if match:
            found[int(match[1])] = module
    return found


@contextmanager
def ablated(model, heads, mode="zero", mean=None, evidence=(), total=None):
    """Ablate within the block, at every position that is run."""
    EDIT.update(heads=set(heads), mode=mode, evidence=list(evidence), total=total)
    d_head = head_width(model)
    handles = []
    if mode in ("zero", "mean"):
        for layer, module in output_projections(model).items():
            mine = [head for at, head in heads if at == layer]

            def put(module, args, layer=layer, mine=mine):
                x = args[0].clone()
                for head in mine:
                    value = 0 if mode == "zero" else mean[layer][head]
                    x[..., head * d_head : (head + 1) * d_head] = value
                return (x, *args[1:])

            if mine:
                handles.append(module.register_forward_pre_hook(put))
    try:
        yield
    finally:
        EDIT.clear()
        for handle in handles:
            handle.remove()


def head_width(model):
    module = output_projections(model)[0]
    width = module.weight.shape[0] if hasattr(module, "nf") else module.weight.shape[1]
    return width // model.config.num_attention_heads


@torch.no_grad()
def two_passes(model, prompt, evidence, stop_ids, n_new, choose, keep_kv="ablated", seen=None):
    """Two passes a step; `choose(rows, token, step)` names the heads. Tokens, and heads a step.

    The rows of the pass that counts are appended to `seen`.
    """
    cache = DynamicCache(config=model.config)
    model(prompt[:-1].view(1, -1), past_key_values=cache)
    fed, tokens, masked = prompt[-1:].view(1, 1), [], []
    for step in range(n_new):
        total = len(prompt) + step
        clean_cache = copy.deepcopy(cache)
        logits = model(fed, past_key_values=clean_cache).logits[0, -1]
        heads = choose(dict(ROWS), int(logits.argmax()), step)
        masked.append(set(heads))
        if heads:
            with ablated(model, heads, evidence=evidence, total=total):
                logits = model(fed, past_key_values=cache).logits[0, -1]
        if seen is not None:
            seen.append(dict(ROWS))
        if not heads or keep_kv == "clean":
            cache = clean_cache
        tokens.append(int(logits.argmax()))
        if tokens[-1] in stop_ids:
            break
        fed = torch.tensor([[tokens[-1]]])
    return tokens, masked


def copying_heads(prompt, evidence):
    """Eq. 1 by token, as a chooser for `two_passes`."""
    places = {int(p): int(prompt[p]) for p in evidence}

    def choose(rows, token, step):
        return {
            (layer, head)
            for layer, row in rows.items()
            for head, best in enumerate(row.argmax(-1).tolist())
            if places.get(best + len(prompt) + step - row.shape[1]) == token
        }

    return choose
