"""Responses whose canonical correlations are known."""

import numpy as np
import torch

from retrieval_lens.analysis.trajectories import Trajectory


def response(hidden, scores, name, inputs=None, tokens=None, heads=1, **meta) -> Trajectory:
    """Arrays `[step, feature]`; a head is active where its score is above 0.5."""
    grid = torch.tensor(np.asarray(scores), dtype=torch.float32).unflatten(1, (-1, heads))
    steps = torch.arange(len(grid))
    ids = [steps if one is None else torch.tensor(one) for one in (inputs, tokens)]
    hidden = torch.tensor(np.asarray(hidden), dtype=torch.float32)
    return Trajectory(hidden, grid, grid > 0.5, *ids, name, {"haystack": "coast", **meta})


def latent_responses(
    n_examples, n_steps, rhos, n_noise=0, seed=0, spread=0, offset=0
) -> list[Trajectory]:
    """Column i of both sides correlates with `rhos[i]`, `offset` steps apart, the rest not at all.

    Lengths vary by up to `spread` steps.
    """
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n_examples):
        n = n_steps + int(rng.integers(-spread, spread + 1))
        x, y, z = rng.normal(size=(3, n + offset, len(rhos) + n_noise))
        share = np.sqrt([*rhos, *[0] * n_noise])
        x, y = (share * z + np.sqrt(1 - share**2) * noise for noise in (x, y))
        ids = rng.integers(0, 3, (2, n))
        # heads of different ranges, so that scaling them matters
        x, y = x[offset:], y[:n] * np.linspace(1, 4, y.shape[1])
        found.append(response(x, y, f"e{i:03}", *ids, haystack=str(i % 2)))
    return found


def pick(frame, setting, statistic="top1", offset=0, steps="all"):
    """The one row."""
    rows = frame[(frame.setting == setting) & (frame.statistic == statistic)]
    rows = rows[(rows.offset == offset) & (rows.steps == steps)]
    assert len(rows) == 1, (setting, statistic, offset, steps, len(rows))
    return rows.iloc[0]
