"""Responses whose hidden states are known to tell of the heads, or known not to."""

import numpy as np
import torch

from retrieval_lens.analysis.trajectories import Trajectory

SHAPE, D_MODEL = (2, 3), 8
SMALL = {"widths": [16], "epochs": 3, "progress": False}


def response(scores, name="a", hidden=None, tokens=None, haystack="coast", **meta) -> Trajectory:
    """A response from its scores `[step, layer, head]`; a head is active above 0.5."""
    scores = torch.as_tensor(scores, dtype=torch.float32)
    n = len(scores)
    tokens = torch.arange(n) if tokens is None else torch.as_tensor(tokens)
    return Trajectory(
        hidden=torch.randn(n, D_MODEL) if hidden is None else torch.as_tensor(hidden).float(),
        scores=scores,
        active=scores > 0.5,
        inputs=torch.zeros(n, dtype=torch.long),
        tokens=tokens,
        example_id=name,
        meta={"haystack": haystack, "model": "synthetic", "score": "copy_paste", **meta},
    )


def corpus(n_examples=30, n_steps=12, signal=True, seed=0, prefix="e", labels=True, n_first=0):
    """Each head fires where a linear function of the hidden state (or of noise) is large."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).standard_normal((D_MODEL, SHAPE[0] * SHAPE[1]))
    found = []
    for i in range(n_examples):
        n = n_steps + i % 3
        hidden = rng.standard_normal((n, D_MODEL))
        cause = hidden if signal else rng.standard_normal((n, D_MODEL))
        logits = cause @ directions / np.sqrt(D_MODEL) - np.linspace(0, 1.5, 6)
        scores = (logits > 0).astype(float) if labels else 1 / (1 + np.exp(-2 * logits))
        name = f"{prefix}{i + n_first}"
        tokens = rng.integers(0, 20, n)
        found.append(
            response(scores.reshape(n, *SHAPE), name, hidden, tokens, ["coast", "essays"][i % 2])
        )
    return found
