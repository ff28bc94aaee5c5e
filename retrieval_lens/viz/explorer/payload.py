"""A trace as the explorer reads it: a small description, and one buffer of numbers.

1. Tokens are made visible here, so that the browser never meets half a character or a mark that
   turns the text around it over.
2. Scores and weights are float32, positions 16 or 32 bits; what is active is decided here, with the
   numbers of the trace, and sent as bytes.
3. Every array is flat, `[step, layer, head, …]` in that order; the description holds its place in
   the buffer as `[type, offset, length]`.
4. The order of the rows comes from the first trace, so that two maps line up.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from retrieval_lens.errors import InputError
from retrieval_lens.viz.explorer.palette import scale
from retrieval_lens.viz.labels import visible
from retrieval_lens.viz.trace_like import TraceLike, step_scores, to_numpy

ALIGNED = 8  # bytes; a typed array must start at a multiple of its element's size
Place = list[Any]


class Buffer:
    """Arrays one behind the other.

    Examples:
        >>> buffer = Buffer()
        >>> buffer.add(np.ones(3, dtype=np.uint8)), buffer.add(np.ones(2, dtype=np.int32))
        (['uint8', 0, 3], ['int32', 8, 2])
        >>> len(buffer.data())
        16
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, values: np.ndarray) -> Place:
        """Take an array in and return its `[type, offset, length]`."""
        little = values.dtype.newbyteorder("<")
        data = np.ascontiguousarray(values).astype(little, copy=False).tobytes()
        place = [values.dtype.name, self._size, values.size]
        self._parts.append(data + bytes(-len(data) % ALIGNED))
        self._size += len(self._parts[-1])
        return place

    def data(self) -> bytes:
        """All of them."""
        return b"".join(self._parts)


def row_orders(scores: Float[np.ndarray, "step layer head"]) -> dict[str, Int[np.ndarray, " row"]]:
    """Heads by variance and by mean over the steps that are scored, largest first.

    Ties go by layer, then head; heads without a scored step come last.

    Examples:
        >>> scores = np.array([[[0.0, 0.9, 0.2]], [[1.0, 0.9, 0.2]]])
        >>> {name: order.tolist() for name, order in row_orders(scores).items()}
        {'variance': [0, 1, 2], 'mean': [1, 0, 2]}
    """
    known = np.isfinite(scores)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, scores, 0.0).sum(axis=0) / count
    variance = np.where(known, (scores - mean) ** 2, 0.0).sum(axis=0) / count
    never = ~known.any(axis=0)
    # equal numbers in another order differ in the last bits, which must not decide a tie
    keys = {"variance": variance, "mean": mean}
    ranked = {name: np.where(never, -np.inf, key).round(12) for name, key in keys.items()}
    return {
        name: np.argsort(-key, axis=None, kind="stable").astype(np.int32)
        for name, key in ranked.items()
    }


def pack(traces: list[TraceLike], names: list[str]) -> tuple[dict[str, Any], bytes]:
    """Describe one or two traces of one prompt; see the module.

    Raises:
        InputError: A trace without scores or steps, arrays that do not fit each other, or two
            traces of different prompts or models.
    """
    first, buffer = traces[0], Buffer()
    scores = list(first.scores)
    if not scores:
        raise InputError("the trace holds no score; trace with at least one, scores=[CopyPaste()]")
    for trace in traces:
        _check(trace, scores)
    _check_pair(traces)
    _, n_layers, n_heads = step_scores(first, scores[0]).shape
    meta = {
        "n_layers": n_layers,
        "n_heads": n_heads,
        "m": int(first.top_positions.shape[-1]),
        "prompt": [visible(token, spaces=False) for token in first.prompt_str_tokens],
        "prompt_ids": buffer.add(to_numpy(first.token_ids).astype(np.int32)),
        "evidence": [int(position) for position in to_numpy(first.evidence)],
        "scores": scores,
        "scales": [_scale(traces, score) for score in scores],
        "orders": [
            {key: buffer.add(order) for key, order in row_orders(step_scores(first, score)).items()}
            for score in scores
        ],
        "traces": [
            _describe(trace, name, scores, buffer)
            for trace, name in zip(traces, names, strict=False)
        ],
    }
    return meta, buffer.data()


def _scale(traces: list[TraceLike], score: str) -> dict[str, Any]:
    """One colour scale for all traces; a score below its threshold is never the last colour."""
    values = np.concatenate([step_scores(trace, score).ravel() for trace in traces])
    reach = [to_numpy(trace.thresholds[score]) for trace in traces if score in trace.thresholds]
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    binary = bool(np.isin(finite, (0, 1)).all())
    levels = np.concatenate([np.ravel(level) for level in reach]) if reach else np.zeros(0)
    levels = levels[np.isfinite(levels)]
    return scale(low, 1.0 if binary else max([high, *levels.astype(float)]))


def _describe(trace: TraceLike, name: str, scores: list[str], buffer: Buffer) -> dict[str, Any]:
    n_steps = len(trace.tokens)
    small = len(trace.token_ids) + n_steps < 2**15
    positions = to_numpy(trace.top_positions).astype(np.int16 if small else np.int32)
    values = [step_scores(trace, score) for score in scores]
    thresholds = [_level(trace.thresholds, score, n_steps) for score in scores]
    active = [value > level[:, None, None] for value, level in zip(values, thresholds, strict=True)]
    chance = [_level(trace.chance, score, n_steps) for score in scores]
    return {
        "name": visible(name, spaces=False),
        "n_steps": n_steps,
        "truncated": bool(trace.truncated),
        "tokens": [visible(token, spaces=False) for token in trace.str_tokens],
        "ids": buffer.add(to_numpy(trace.tokens).astype(np.int32)),
        "positions": buffer.add(positions),
        "weights": buffer.add(to_numpy(trace.top_weights).astype(np.float32)),
        "scores": [buffer.add(value.astype(np.float32)) for value in values],
        "active": [buffer.add(value.astype(np.uint8)) for value in active],
        "thresholds": [buffer.add(level.astype(np.float32)) for level in thresholds],
        "chance": [buffer.add(level.astype(np.float32)) for level in chance],
    }


def _level(levels: Any, score: str, n_steps: int) -> Float[np.ndarray, " step"]:
    """A level of each step; NaN where the trace has none."""
    if score not in levels:
        return np.full(n_steps, np.nan)
    return to_numpy(levels[score]).astype(np.float64)


def _check(trace: TraceLike, scores: list[str]) -> None:
    """Refuse a trace whose parts do not fit each other: its picture would be wrong."""
    shape = step_scores(trace, scores[0]).shape
    n_prompt = len(trace.token_ids)
    wanted = {f"scores[{score!r}]": (step_scores(trace, score).shape, shape) for score in scores}
    positions, weights = trace.top_positions.shape, trace.top_weights.shape
    wanted |= {
        "top_positions": (tuple(positions[:3]), shape),
        "top_weights": (tuple(weights), tuple(positions)),
        "tokens": (tuple(trace.tokens.shape), shape[:1]),
        "str_tokens": ((len(trace.str_tokens),), shape[:1]),
        "prompt_str_tokens": ((len(trace.prompt_str_tokens),), (n_prompt,)),
    }
    for field in ("thresholds", "chance"):
        levels = getattr(trace, field)
        wanted |= {
            f"{field}[{score!r}]": (to_numpy(levels[score]).shape, shape[:1])
            for score in scores
            if score in levels
        }
    for name, (received, expected) in wanted.items():
        if received != expected:
            raise InputError(f"{name} of the trace has shape {received}; wanted {expected}")
    outside = to_numpy(trace.evidence)
    outside = outside[(outside < 0) | (outside >= n_prompt)]
    if outside.size:
        raise InputError(f"evidence at {outside[0]} lies outside the prompt of {n_prompt} tokens")
    # the query of step t is the last position that a head can see
    last = n_prompt + np.arange(shape[0])[:, None, None, None]
    if (to_numpy(trace.top_positions) >= last).any():
        raise InputError("top_positions holds a position after the query of its step")


def _check_pair(traces: list[TraceLike]) -> None:
    first = traces[0]
    for other in traces[1:]:
        if list(other.prompt_str_tokens) != list(first.prompt_str_tokens) or not np.array_equal(
            to_numpy(other.token_ids), to_numpy(first.token_ids)
        ):
            raise InputError(
                f"two traces of different prompts ({len(first.token_ids)} and "
                f"{len(other.token_ids)} tokens); explore takes two traces of the same prompt"
            )
        if not np.array_equal(to_numpy(other.evidence), to_numpy(first.evidence)):
            raise InputError("two traces with different evidence; their scores do not compare")
        shapes = [tuple(trace.top_positions.shape[1:]) for trace in (first, other)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"two traces of (layers, heads, m) {shapes[0]} and {shapes[1]}; wanted the same"
            )
