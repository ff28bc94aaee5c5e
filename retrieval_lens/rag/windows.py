"""Which parts of the context to show (Algorithm 2 of arXiv 2602.11162, lines 5 to 14).

1. The positions of the context with the largest weights are taken (`top_positions`).
2. Neighbours at most `gap` tokens apart form a cluster (`clusters`).
3. The position of the largest weight stands for its cluster (`representative`), or its first or
   middle one.
4. `radius` tokens on either side of it are shown, as far as the context goes (`window`).
5. Windows that overlap or touch become one (`merged`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval_lens.errors import InputError, NumericalError, UnknownNameError
from retrieval_lens.rag.checks import span, whole

Span = tuple[int, int]
CENTRES = ("largest", "first", "middle")


@dataclass(frozen=True)
class Windows:
    """What is revealed, and why.

    Attributes:
        positions: The most attended positions, largest weight first.
        clusters: The same, ascending, in groups of neighbours.
        representatives: One position a cluster.
        windows: Half-open spans that are shown, ascending, apart from each other.
    """

    positions: tuple[int, ...]
    clusters: tuple[tuple[int, ...], ...]
    representatives: tuple[int, ...]
    windows: tuple[Span, ...]

    @property
    def n_tokens(self) -> int:
        """How many tokens are shown."""
        return sum(end - start for start, end in self.windows)


def reveal(
    weights: Float[Tensor, " key_pos"],
    context: Any,
    n_positions: Any = 10,
    gap: Any = 8,
    radius: Any = 32,
    centre: str = "largest",
) -> Windows:
    """The windows of the context around the most attended positions.

    Args:
        weights: Attention of the last position, averaged over the chosen heads.
        context: Its half-open span (start, end) in the prompt.
        n_positions: How many positions are taken; a shorter context gives all of its own.
        gap: Largest distance, in tokens, of neighbours in one cluster.
        radius: Tokens shown on either side of a representative.
        centre: Which position represents its cluster, see `representative`.

    Raises:
        UnknownNameError: No such centre.
        InputError: An empty context, one outside the weights, or a setting out of range.
        NumericalError: A weight is NaN or infinite.

    Examples:
        >>> weights = torch.zeros(100)
        >>> weights[torch.tensor([20, 24, 60])] = torch.tensor([0.2, 0.5, 0.3])
        >>> shown = reveal(weights, context=(10, 90), n_positions=3, radius=5)
        >>> shown.windows, shown.n_tokens
        (((19, 30), (55, 66)), 22)
    """
    start, end = span("context", context)
    _require_inside([start, end - 1], weights)
    positions = top_positions(weights, torch.arange(start, end), n_positions)
    groups = clusters(positions, gap)
    centres = [representative(group, weights, centre) for group in groups]
    shown = merged([window(centre, radius, (start, end)) for centre in centres])
    return Windows(
        tuple(positions), tuple(tuple(group) for group in groups), tuple(centres), tuple(shown)
    )


def top_positions(
    weights: Float[Tensor, " key_pos"], candidates: Int[Tensor, " n"], n_positions: Any = 10
) -> list[int]:
    """The candidates of largest weight, largest first; of equal ones the lowest comes first.

    Args:
        weights: One a position of the prompt.
        candidates: Positions to choose from; one named twice counts once.
        n_positions: How many; all of them if there are fewer.

    Raises:
        InputError: No candidate, one outside the weights, or no whole number from 1.
        NumericalError: A weight is NaN or infinite.

    Examples:
        >>> top_positions(torch.tensor([0.9, 0.1, 0.3, 0.3]), torch.tensor([1, 2, 3]), 2)
        [2, 3]
    """
    count = whole("n_positions", n_positions, 1)
    if not len(candidates):
        raise InputError("the context is empty: there is no position to choose from")
    among = candidates.unique()  # ascending, which a stable sort keeps among equals
    _require_inside([int(among[0]), int(among[-1])], weights)
    if not weights.isfinite().all():
        raise NumericalError("the attention weights hold NaN or infinity")
    order = weights[among].argsort(descending=True, stable=True)
    return among[order[:count]].tolist()


def clusters(positions: Sequence[int], gap: Any = 8) -> list[list[int]]:
    """Positions, ascending, split wherever two neighbours are more than `gap` apart.

    Raises:
        InputError: A gap that is no whole number from 0.

    Examples:
        >>> clusters([30, 3, 11, 20], gap=8)
        [[3, 11], [20], [30]]
    """
    apart = whole("gap", gap, 0)
    ordered = sorted(set(positions))
    groups = [[one] for one in ordered[:1]]
    for before, after in pairwise(ordered):
        if after - before > apart:
            groups.append([])
        groups[-1].append(after)
    return groups


def representative(
    cluster: Sequence[int], weights: Float[Tensor, " key_pos"], centre: str = "largest"
) -> int:
    """The position that stands for a cluster.

    Args:
        cluster: Positions.
        weights: One a position of the prompt.
        centre: `largest`: that of the largest weight, of equal ones the lowest; `first`: the
            lowest; `middle`: the one in the middle, of two the lower.

    Raises:
        UnknownNameError: No such centre.
        InputError: An empty cluster, or a position outside the weights.
        NumericalError: A weight is NaN or infinite.
    """
    if centre not in CENTRES:
        raise UnknownNameError(f"no centre {centre!r}; known: {', '.join(CENTRES)}")
    largest = top_positions(weights, torch.tensor(list(cluster), dtype=torch.long), 1)[0]
    ordered = sorted(set(cluster))
    places = {"first": ordered[0], "middle": ordered[(len(ordered) - 1) // 2]}
    return places.get(centre, largest)


def window(position: Any, radius: Any = 32, bounds: Any = None) -> Span:
    """The half-open span of `radius` tokens on either side of a position, cut at `bounds`.

    Args:
        position: In the middle; it counts besides, so a whole window has 2 x radius + 1 tokens.
        radius: From 0.
        bounds: Half-open span of the context; None cuts at 0 alone.

    Raises:
        InputError: A position outside the bounds, or a number out of range.

    Examples:
        >>> window(12, radius=5, bounds=(10, 100))
        (10, 18)
    """
    centre, reach = whole("position", position, 0), whole("radius", radius, 0)
    low, high = (0, centre + reach + 1) if bounds is None else span("bounds", bounds)
    if not low <= centre < high:
        raise InputError(f"position {centre} lies outside the context {(low, high)}")
    return max(low, centre - reach), min(high, centre + reach + 1)


def merged(windows: Sequence[Any]) -> list[Span]:
    """Half-open spans, ascending, those that overlap or touch joined.

    Raises:
        InputError: A window that is empty or no span.

    Examples:
        >>> merged([(8, 12), (0, 5), (5, 7), (10, 20)])
        [(0, 7), (8, 20)]
    """
    result: list[Span] = []
    for start, end in sorted(span("window", one) for one in windows):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def _require_inside(positions: Sequence[int], weights: Tensor) -> None:
    if min(positions) < 0 or max(positions) >= len(weights):
        raise InputError(
            f"the context reaches from {min(positions)} to {max(positions)}, but there are weights "
            f"for the positions 0..{len(weights) - 1} only"
        )
