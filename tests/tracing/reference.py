"""The method once more, in plain transformers with eager attention: nothing here is ours.

Every quantity is computed the slow and obvious way from whole attention rows, in NumPy and loops.
"""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache


@dataclass
class Reference:
    tokens: list[int]
    rows: np.ndarray | list  # [step][layer, head, key], keys from position 0
    hidden: np.ndarray  # [step, d_model]
    logits: np.ndarray  # [step, vocab]


@torch.no_grad()
def decode(hf_model, prompt, stop_ids, max_new_tokens):
    """Greedy decoding with a KV cache; the row of the last token at each step."""
    cache, fed = DynamicCache(config=hf_model.config), prompt.view(1, -1)
    tokens, rows, hidden, logits = [], [], [], []
    for _ in range(max_new_tokens):
        out = hf_model(
            fed, past_key_values=cache, output_attentions=True, output_hidden_states=True
        )
        rows.append(padded_rows(out.attentions, len(prompt) + len(tokens)))
        hidden.append(out.hidden_states[-1][0, -1].numpy())
        logits.append(out.logits[0, -1].numpy())
        tokens.append(int(np.argmax(logits[-1])))
        if tokens[-1] in stop_ids:
            break
        fed = torch.tensor([[tokens[-1]]])
    return Reference(tokens, rows, np.stack(hidden), np.stack(logits))


def padded_rows(attentions, total):
    """Last rows of all layers `[layer, head, key]`; a sliding window's keys are the newest ones."""
    result = []
    for layer in attentions:
        row = layer[0, :, -1].float().numpy()
        result.append(np.pad(row, ((0, 0), (total - row.shape[1], 0))))
    return np.stack(result)


def copy_paste(reference, prompt, evidence, match="token"):
    """Eq. 1, `[step, layer, head]`."""
    ids = [*prompt.tolist(), *reference.tokens]
    evidence, n_prompt, result = set(evidence.tolist()), len(prompt), []
    for t, row in enumerate(reference.rows):
        y, places = ids[n_prompt + t], set()
        for p in evidence:
            if ids[p] == y:
                places.add(p)
        if match == "position" and places:
            so_far = ids[n_prompt : n_prompt + t]
            length = {}
            for p in places:
                n = 0
                while n < len(so_far) and p - 1 - n >= 0 and ids[p - 1 - n] == so_far[-1 - n]:
                    n += 1
                length[p] = n
            places = {p for p in places if length[p] == max(length.values())}
        best = row.argmax(-1)
        result.append([[float(p in places) for p in layer] for layer in best])
    return np.array(result, dtype=np.float32)


def reasoning(reference, prompt, evidence, n_sink=4, n_local=32, min_mass=0.01):
    """Eq. 2 `[step, layer, head]` and the chance level `[step]`."""
    scores, chance = [], []
    evidence = set(evidence.tolist())
    for row in reference.rows:
        n = row.shape[-1]
        counted = [i for i in range(n) if i in evidence or n_sink <= i < n - n_local]
        numerator = row[..., sorted(evidence)].sum(-1)
        denominator = row[..., counted].sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores.append(np.where(denominator < min_mass, 0, numerator / denominator))
        chance.append(len(evidence) / len(counted))
    return np.stack(scores).astype(np.float32), np.array(chance, dtype=np.float32)
