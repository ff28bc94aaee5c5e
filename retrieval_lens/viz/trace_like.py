"""What a figure needs of a trace, by shape instead of by class.

The figures never import the tracer, so a trace reaches them through the protocol below: the
`Trace` of this package has these attributes, and so may any object of yours.

Examples:
    >>> from retrieval_lens.viz.demo import demo_trace
    >>> isinstance(demo_trace(), TraceLike)
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from retrieval_lens.errors import InputError, UnknownNameError

if TYPE_CHECKING:  # the figures need numpy alone, and torch takes more than a second to import
    from jaxtyping import Int
    from torch import Tensor

    from retrieval_lens.types import (
        EvidencePositions,
        StepScores,
        TokenIds,
        TopPositions,
        TopWeights,
    )


@runtime_checkable
class TraceLike(Protocol):
    """What each head did at each decode step of one generation.

    `step`, `layer`, `head` and `m` count from 0; a position counts the tokens of prompt +
    response. The query of step `t` is position `len(token_ids) - 1 + t`.
    """

    @property
    def token_ids(self) -> TokenIds:
        """The prompt, `[pos]`."""
        ...

    @property
    def prompt_str_tokens(self) -> tuple[str, ...]:
        """The text of each prompt token."""
        ...

    @property
    def evidence(self) -> EvidencePositions:
        """Prompt positions of the evidence, `[evidence]`."""
        ...

    @property
    def tokens(self) -> Int[Tensor, " step"]:
        """The generated tokens."""
        ...

    @property
    def str_tokens(self) -> tuple[str, ...]:
        """The text of each generated token."""
        ...

    @property
    def truncated(self) -> bool:
        """Whether the generation ran into its limit of new tokens."""
        ...

    @property
    def scores(self) -> Mapping[str, StepScores]:
        """Score name to `[step, layer, head]`."""
        ...

    @property
    def thresholds(self) -> Mapping[str, Float[Tensor, " step"]]:
        """Score name to the value above which a head is active, `[step]`."""
        ...

    @property
    def chance(self) -> Mapping[str, Float[Tensor, " step"]]:
        """Score name to the score of a head that looks everywhere alike, `[step]`."""
        ...

    @property
    def top_positions(self) -> TopPositions:
        """The `m` most attended positions, largest weight first, -1 where there is none."""
        ...

    @property
    def top_weights(self) -> TopWeights:
        """The attention on `top_positions`."""
        ...


def to_numpy(array: Any) -> np.ndarray:
    """A numpy copy or view of anything array-like; a tensor may need gradients or lie on a device.

    Examples:
        >>> to_numpy([[1, 2]]).shape
        (1, 2)
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = array.float().numpy() if array.is_floating_point() else array.numpy()
    return np.asarray(array)


def step_scores(trace: TraceLike, score: str) -> Float[np.ndarray, "step layer head"]:
    """One score of a trace as `[step, layer, head]`.

    Raises:
        UnknownNameError: the trace holds no score of this name.
        InputError: the trace has no decode step.

    Examples:
        >>> from retrieval_lens.viz.demo import demo_trace
        >>> step_scores(demo_trace(), "copy_paste").shape
        (6, 4, 3)
    """
    if score not in trace.scores:
        known = ", ".join(map(repr, trace.scores)) or "none"
        raise UnknownNameError(f"no score {score!r} in this trace; it holds: {known}")
    values = to_numpy(trace.scores[score]).astype(np.float64)
    if not len(values):
        raise InputError("the trace has no decode step; generate at least one token first")
    return values


def token_at(trace: TraceLike, position: int) -> str:
    """The text of the token at a position of prompt + response.

    Examples:
        >>> from retrieval_lens.viz.demo import demo_trace
        >>> token_at(demo_trace(), 1)
        ' magic'
    """
    n_prompt = len(trace.prompt_str_tokens)
    if position < n_prompt:
        return trace.prompt_str_tokens[position]
    return trace.str_tokens[position - n_prompt]


def head_pairs(heads: Iterable[Any], n_layers: int, n_heads: int) -> list[tuple[int, int]]:
    """Read heads in their order: (layer, head) pairs, or objects with `layer` and `head`.

    Raises:
        InputError: no head, something that is not a head, or a head that the model does not have.

    Examples:
        >>> head_pairs([(3, 1), (0, 2)], n_layers=4, n_heads=3)
        [(3, 1), (0, 2)]
    """
    pairs = []
    for given in heads:
        pair = (given.layer, given.head) if hasattr(given, "layer") else given
        try:
            layer, head = map(index, pair)
        except (TypeError, ValueError):
            raise InputError(f"received {given!r} as a head; give (layer, head)") from None
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise InputError(
                f"no head {(layer, head)} in a trace of {n_layers} layers of {n_heads} heads; both "
                "count from 0"
            )
        pairs.append((layer, head))
    if not pairs:
        raise InputError("received no head; name at least one, or leave `heads` out")
    return pairs
