"""From attention rows to the numbers that a trace keeps.

1. The rows of one step arrive layer by layer and wait until the step is over (or too much waits).
2. Layers with equally many keys are stacked and read together: the most attended positions and
   whatever the scores observe. The rows are dropped.
3. The results are put back in the order of the layers.
"""

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from retrieval_lens.errors import NumericalError, UnsupportedModelError
from retrieval_lens.scores import AttentionRows, StepScore

WAITING_LIMIT = 2**26  # floats that may wait for the end of a step: 256 MB
TOP_POSITIONS, TOP_WEIGHTS = "top_positions", "top_weights"
Observations = dict[str, Tensor]  # {what: [row, layer, head, channel]}, channels as each wants


class RowRecorder:
    """Collects what `scores` observe, and the `n_top` most attended positions, of each step.

    Args:
        scores: Step scores; those that observe the same share one observation.
        layers: The attention layers, in order.
        evidence: For each row the evidence positions `[evidence]`.
        n_top: How many of the most attended positions are kept; 0 keeps none.
    """

    def __init__(
        self,
        scores: Sequence[StepScore],
        layers: Sequence[int],
        evidence: Sequence[Int[Tensor, " _"]],
        n_top: int = 8,
    ):
        self.observers: dict[str, StepScore] = {score.observes: score for score in scores}
        self.layers: list[int] = list(layers)
        self.evidence: list[Int[Tensor, " _"]] = list(evidence)
        self.n_top: int = n_top
        self.waiting: dict[int, Float[Tensor, "row head key_pos"]] = {}
        self.n_waiting: int = 0
        self.read: list[tuple[list[int], Observations]] = []
        self.first_key: Callable[[int], Int[Tensor, " row"]]
        self.query_positions: Callable[[], Int[Tensor, " row"]]

    def listen(self, layer: int, pattern: Float[Tensor, "row head key_pos"]) -> None:
        """Take the rows of one layer; they are read when the step ends."""
        self.waiting[layer] = pattern
        self.n_waiting += pattern.numel()
        if self.n_waiting > WAITING_LIMIT:
            self._read()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self.evidence = [self.evidence[row] for row in rows]

    def end_step(self) -> Observations:
        """What was observed in the step, layers in order, on the device of the first rows."""
        self._read()
        read, self.read = self.read, []
        order = [layer for layers, _ in read for layer in layers]
        if sorted(order) != self.layers:
            raise UnsupportedModelError(
                f"attention rows came from layers {sorted(order)}, not from {self.layers}"
            )
        if len({next(iter(part.values())).shape[2] for _, part in read}) > 1:
            raise UnsupportedModelError("layers with different numbers of heads cannot be stacked")
        if len(read) == 1:
            return read[0][1]
        return {name: _in_order([part[name] for _, part in read], order) for name in read[0][1]}

    def _read(self) -> None:
        groups: dict[tuple[int, torch.device], list[int]] = {}
        for layer in sorted(self.waiting):
            pattern = self.waiting[layer]
            groups.setdefault((pattern.shape[-1], pattern.device), []).append(layer)
        for layers in groups.values():
            stacked = torch.cat([self.waiting[layer] for layer in layers], dim=1)
            observed = {
                name: rearrange(value, "row (layer head) c -> row layer head c", layer=len(layers))
                for name, value in self._observe(stacked).items()
            }
            self.read.append((layers, observed))
        self.waiting, self.n_waiting = {}, 0

    def _observe(self, pattern: Float[Tensor, "row head key_pos"]) -> Observations:
        n_keys, device = pattern.shape[-1], pattern.device
        first = self.first_key(n_keys)
        evidence = torch.zeros(len(pattern), n_keys, dtype=torch.bool)
        for row, (start, positions) in enumerate(zip(first.tolist(), self.evidence, strict=True)):
            evidence[row, positions[positions >= start] - start] = True
        rows = AttentionRows(
            pattern,
            first.to(device).unsqueeze(1) + torch.arange(n_keys, device=device),
            self.query_positions().to(device),
            evidence.to(device),
        )
        observed = {name: score.observe(rows) for name, score in self.observers.items()}
        if self.n_top:
            observed |= top_positions(rows, self.n_top)
        if not bool(pattern.gather(-1, rows.argmax.unsqueeze(-1)).isfinite().all()):
            raise NumericalError(
                "an attention row holds NaN or infinity: the model overflows here; load it in "
                "float32"
            )
        return observed


def _in_order(
    parts: Sequence[Float[Tensor, "row _ head channel"]], order: Sequence[int]
) -> Float[Tensor, "row layer head channel"]:
    """Groups of layers joined on one device, layers ascending."""
    joined = torch.cat([part.to(parts[0].device) for part in parts], dim=1)
    return joined[:, torch.tensor(order).argsort()]


def top_positions(rows: AttentionRows, n: int) -> Observations:
    """The `n` most attended positions and their weights; equal weights in order of position.

    Rows with fewer than `n` visible keys are filled up with position -1 and weight 0. The first
    place is the arg-max with ties to the lowest position, as in the copy-paste score; of weights
    that are equal at the cut, which ones are kept is up to torch.
    """
    pattern = rows.pattern
    weights, keys = pattern.topk(min(n, pattern.shape[-1]), sorted=True)
    keys, order = keys.sort(dim=-1)
    weights, ranks = weights.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    keys = keys.gather(-1, ranks)
    keys[..., 0] = rows.argmax
    padded_keys = rows.key_positions.unsqueeze(1).expand(-1, pattern.shape[1], -1)
    positions = padded_keys.gather(-1, keys)
    positions = torch.where((weights > 0) & (positions >= 0), positions, -1)
    fill = (0, n - keys.shape[-1])
    return {
        TOP_POSITIONS: torch.nn.functional.pad(positions.float(), fill, value=-1),
        TOP_WEIGHTS: torch.nn.functional.pad(weights, fill),
    }
