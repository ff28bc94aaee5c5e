"""Small responses whose every statistic can be worked out on paper."""

import numpy as np
import torch

from retrieval_lens.analysis import StepSets

META = {"needle": "magic_word", "seed": 0, "n_tokens": 100, "depth": 0.5}


def sets(rows, name="a", haystack="coast", tokens=None, shape=(2, 2), **meta) -> StepSets:
    """`rows` lists the active heads of each step by their index 0, 1, 2 …"""
    active = torch.zeros(len(rows), shape[0] * shape[1], dtype=torch.bool)
    for step, heads in enumerate(rows):
        active[step, list(heads)] = True
    return StepSets(
        active.view(len(rows), *shape),
        name,
        {"haystack": haystack, **META, **meta},
        tokens=None if tokens is None else torch.tensor(tokens),
    )


def bernoulli_sets(n_examples=40, n_steps=50, shape=(6, 8), seed=0, sharpness=6) -> list[StepSets]:
    """Heads that switch independently, each with a probability of its own."""
    rng = np.random.default_rng(seed)
    p = rng.random(shape) ** sharpness
    return [
        StepSets(
            torch.from_numpy(rng.random((n_steps, *shape)) < p), f"e{i}", {"haystack": str(i % 2)}
        )
        for i in range(n_examples)
    ]


def pick(frame, statistic, k=None, empty=None, pooled="steps", null=None):
    """The one row of a statistic."""
    rows = frame[(frame.statistic == statistic) & (frame.pooled == pooled)]
    for column, wanted in (("k", k), ("empty", empty), ("null", null)):
        kept = rows[column].isna() if wanted is None else rows[column].eq(wanted).fillna(False)
        rows = rows[kept.astype(bool)]
    assert len(rows) == 1, (statistic, k, empty, pooled, null, len(rows))
    return rows.iloc[0]


def value(frame, *args, **kwargs) -> float:
    return pick(frame, *args, **kwargs).value
