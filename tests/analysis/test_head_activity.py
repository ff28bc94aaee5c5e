"""Always on, context dependent, never: by hand."""

import pytest
import torch

import retrieval_lens as rl
from retrieval_lens.errors import InputError


def sets(name, *steps):
    """Two layers of two heads; each step lists its active heads."""
    active = torch.zeros(len(steps), 2, 2, dtype=torch.bool)
    for t, heads in enumerate(steps):
        for head in heads:
            active[t][head] = True
    return rl.analysis.StepSets(active, name)


def test_by_hand():
    one = sets("one", [(0, 1)], [(0, 1), (1, 0)], [])
    two = sets("two", [(0, 1)])
    frame = rl.analysis.head_activity([one, two])
    rows = [tuple(row) for row in frame.itertuples(index=False)]
    assert rows == [
        (0, 1, 0.75, 1.0, "always_on"),
        (1, 0, 0.25, 0.5, "context_dependent"),
        (0, 0, 0.0, 0.0, "never"),
        (1, 1, 0.0, 0.0, "never"),
    ]
    alone = rl.analysis.head_activity([one])
    assert alone.kind.tolist() == ["always_on", "always_on", "never", "never"]


def test_no_traces():
    with pytest.raises(InputError):
        rl.analysis.head_activity([])
