"""Top positions, clusters, windows: each by hand, and all of them against sets of positions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retrieval_lens.errors import InputError, NumericalError, UnknownNameError
from retrieval_lens.rag import clusters, merged, representative, reveal, top_positions, window


def weights_at(n, **at):
    weights = torch.zeros(n)
    for position, weight in at.items():
        weights[int(position[1:])] = weight
    return weights


def test_top_positions():
    weights = torch.tensor([0.9, 0.2, 0.3, 0.2, 0.3, 0.1])
    context = torch.tensor([5, 4, 3, 2, 1])
    assert top_positions(weights, context, 3) == [2, 4, 1]  # position 0 is no candidate
    assert top_positions(weights, context, 99) == [2, 4, 1, 3, 5]
    assert top_positions(weights, torch.tensor([3, 3, 1]), 2) == [1, 3]
    assert top_positions(torch.ones(300), torch.arange(300)) == list(range(10))


def test_clusters():
    assert clusters([40, 0, 8, 17, 25, 8]) == [[0, 8], [17, 25], [40]]
    assert clusters([3, 4, 6], gap=1) == [[3, 4], [6]]
    assert clusters([3, 4], gap=0) == [[3], [4]]
    assert clusters([]) == []


def test_representative():
    weights = torch.tensor([0.9, 0.1, 0.4, 0.2, 0.4])
    assert representative([1, 2, 3, 4], weights) == 2
    assert representative([3], weights) == 3


def test_another_centre():
    weights = weights_at(60, p10=0.1, p14=0.2, p16=0.4, p20=0.3)
    assert representative([20, 10, 14, 16], weights, "first") == 10
    assert representative([20, 10, 14, 16], weights, "middle") == 14  # of two the lower
    assert representative([10, 14, 20], weights, "middle") == 14
    shown = reveal(weights, (0, 60), n_positions=4, gap=8, radius=2, centre="first")
    assert shown.windows == ((8, 13),)
    with pytest.raises(UnknownNameError, match="no centre 'last'; known: largest, first, middle"):
        representative([3], weights, "last")


def test_window():
    assert window(100, bounds=(0, 1000)) == (68, 133)
    assert window(3, radius=5, bounds=(0, 7)) == (0, 7)
    assert window(10, radius=0, bounds=(10, 11)) == (10, 11)
    assert window(2, radius=5) == (0, 8)


def test_merged():
    assert merged([(5, 9), (0, 3), (8, 12), (12, 13), (14, 15), (1, 2)]) == [
        (0, 3),
        (5, 13),
        (14, 15),
    ]
    assert merged([]) == []


def test_reveal_by_hand():
    weights = weights_at(200, p5=0.9, p50=0.3, p54=0.4, p58=0.2, p75=0.1, p120=0.05, p199=0.8)
    shown = reveal(weights, context=(10, 190), n_positions=5, gap=8, radius=10)
    assert shown.positions == (54, 50, 58, 75, 120)  # 5 and 199 lie outside the context
    assert shown.clusters == ((50, 54, 58), (75,), (120,))
    assert shown.representatives == (54, 75, 120)
    assert shown.windows == ((44, 86), (110, 131))  # 44..64 touches 65..85
    assert shown.n_tokens == 42 + 21
    whole = reveal(torch.rand(20), context=(4, 9), n_positions=10)
    assert sorted(whole.positions) == [4, 5, 6, 7, 8] and whole.windows == ((4, 9),)


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(0, 12), st.integers(0, 20))
def test_reveal_against_sets(seed, n_positions, gap, radius):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(0, 6, (90,), generator=generator) / 5
    start, end = 7, 80
    shown = reveal(weights, (start, end), n_positions, gap, radius)
    order = sorted(range(start, end), key=lambda i: (-float(weights[i]), i))[:n_positions]
    assert list(shown.positions) == order
    seen = {
        i
        for centre in shown.representatives
        for i in range(start, end)
        if abs(i - centre) <= radius
    }
    assert {i for a, b in shown.windows for i in range(a, b)} == seen
    assert shown.n_tokens == len(seen)
    for one, other in zip(shown.clusters, shown.clusters[1:], strict=False):
        assert other[0] - one[-1] > gap
    for cluster, centre in zip(shown.clusters, shown.representatives, strict=True):
        assert centre == order[min(order.index(i) for i in cluster)]
        assert all(b - a <= gap for a, b in zip(cluster, cluster[1:], strict=False))


def test_what_is_refused():
    weights = torch.rand(20)
    for bad in (torch.nan, torch.inf):
        with pytest.raises(NumericalError, match="NaN or infinity"):
            reveal(weights * bad, (0, 20))
    with pytest.raises(InputError, match="context is empty"):
        reveal(weights, (5, 5))
    with pytest.raises(InputError, match="context is empty"):
        top_positions(weights, torch.tensor([], dtype=torch.long))
    with pytest.raises(InputError, match="weights for the positions 0..19 only"):
        reveal(weights, (5, 21))
    with pytest.raises(InputError, match="weights for the positions"):
        top_positions(weights, torch.tensor([-1, 3]))
    with pytest.raises(InputError, match="context is a span"):
        reveal(weights, (-1, 5))
    for name in ("n_positions", "gap", "radius"):
        for value in (-1, 1.5, "3", True, None):
            with pytest.raises(InputError, match=f"{name} is a whole number from"):
                reveal(weights, (0, 20), **{name: value})
    with pytest.raises(InputError, match="position 9 lies outside the context"):
        window(9, bounds=(0, 9))
    with pytest.raises(InputError, match="window is empty"):
        merged([(3, 3)])
