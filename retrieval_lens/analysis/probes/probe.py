"""A trained probe: hidden state in, retrieval heads at that step (or some steps later) out.

1. `predict` gives each head a probability (classifier) or a score (regressor).
2. `active` compares probabilities with the threshold that was best on the validation side.
3. `top_heads` ranks all heads; the sets carry the examples that the probe was made on, so that they
   cannot be judged on these unnoticed.
4. A probe belongs to one model, hook and score: hidden states of another are refused.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retrieval_lens.analysis.probes.baselines import Baselines
from retrieval_lens.analysis.probes.report import ProbeReport
from retrieval_lens.analysis.probes.settings import ProbeSettings
from retrieval_lens.analysis.trajectories import SAME, Trajectory
from retrieval_lens.errors import InputError, NumericalError
from retrieval_lens.heads import Head, HeadSet
from retrieval_lens.heads.random_sets import model_shape
from retrieval_lens.models import model_info
from retrieval_lens.tasks.example import without_layout

ROWS = 4096  # hidden states at a time, so that wide layers fit into memory


@dataclass(frozen=True, eq=False)
class Probe:
    """A probe as `train_probe` returns it.

    Attributes:
        network: `[pair, d_model]` to `[pair, label]`, label = layer × heads + head.
        settings: How it was trained.
        shape: Layers and heads of the model.
        baselines: Tables of the training side.
        thresholds: Of the probe and each baseline; none for a regressor.
        train_ids: Examples of the training side; for a split by step, all examples.
        validation_ids: Examples of the validation side.
        test_ids: Examples of the test side.
        history: One row an epoch: `epoch`, `train_loss`, `val_loss`, `learning_rate`.
        report: Of the test side, made at training.
        provenance: Model, hook, score, settings, sizes and versions, JSON-able.
    """

    network: nn.Sequential
    settings: ProbeSettings
    shape: tuple[int, int]
    baselines: Baselines
    thresholds: Mapping[str, float]
    train_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    history: pd.DataFrame
    report: ProbeReport | None
    provenance: Mapping[str, Any]

    @property
    def d_model(self) -> int:
        """Width of the hidden states."""
        return int(next(self.network.parameters()).shape[1])

    @property
    def threshold(self) -> float | None:
        """Probability from which on a head counts as active; None for a regressor."""
        return self.thresholds.get("probe")

    @property
    def seen_ids(self) -> tuple[str, ...]:
        """Examples that weights, learning rate or threshold were chosen on."""
        return tuple(sorted({*self.train_ids, *self.validation_ids}))

    @torch.no_grad()
    def predict(self, hidden: Any) -> Float[Tensor, "... layer head"]:
        """Probabilities of a classifier, or scores of a regressor as they come (unclipped).

        Args:
            hidden: `[…, d_model]` at the hook that the probe was trained on.

        Returns:
            `[…, layer, head]`, on the CPU, float32.

        Raises:
            InputError: Not a tensor of numbers, or of another width.
            NumericalError: A NaN or infinite number.
        """
        wanted = f"wanted hidden states [..., {self.d_model}]"
        if not isinstance(hidden, Tensor) or not hidden.is_floating_point():
            raise InputError(f"{wanted}, received {type(hidden).__name__}")
        if not hidden.ndim or hidden.shape[-1] != self.d_model:
            raise InputError(f"{wanted}, received shape {tuple(hidden.shape)}: another model's?")
        if not bool(hidden.isfinite().all()):
            raise NumericalError("a hidden state is NaN or infinite")
        device = next(self.network.parameters()).device
        rows = hidden.reshape(-1, self.d_model).split(ROWS)
        parts = [self.network(part.to(device, torch.float32)).cpu() for part in rows]
        found = torch.cat(parts).reshape(*hidden.shape[:-1], *self.shape)
        return found.sigmoid() if self.settings.classifies else found

    def active(self, hidden: Any) -> Bool[Tensor, "... layer head"]:
        """`[…, layer, head]`, the heads whose probability reaches the threshold.

        Raises:
            InputError: As `predict`; or the probe is a regressor, which has no threshold.
            NumericalError: As `predict`.
        """
        if self.threshold is None:
            raise InputError("a regressor has no threshold; compare predict(...) with one of yours")
        return self.predict(hidden) >= self.threshold

    def top_heads(self, hidden: Any, n: Any = 20) -> HeadSet | list[HeadSet]:
        """The `n` heads with the largest prediction, of equal ones the lowest first.

        Args:
            hidden: `[d_model]`, or `[step, d_model]`.
            n: How many.

        Returns:
            One HeadSet, or one a step; its scores are the predictions.

        Raises:
            InputError: As `predict`; or n is out of range, or hidden has more axes.
            NumericalError: As `predict`.
        """
        n_labels = self.shape[0] * self.shape[1]
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= n_labels:
            raise InputError(f"n must be a whole number in 1..{n_labels}; got {n!r}")
        found = self.predict(hidden)
        if hidden.ndim > 2:
            raise InputError(f"wanted hidden [d_model] or [step, d_model], got {hidden.ndim} axes")
        rows = found.reshape(-1, n_labels).sort(dim=1, descending=True, stable=True)
        sets = [
            self._heads(scores.tolist(), labels.tolist())
            for scores, labels in zip(rows.values[:, :n], rows.indices[:, :n], strict=True)
        ]
        return sets[0] if hidden.ndim == 1 else sets

    def _heads(self, scores: list[float], labels: list[int]) -> HeadSet:
        made = {name: self.provenance.get(name) for name in ("model", "score", "hidden_at")}
        return HeadSet(
            [Head(*divmod(label, self.shape[1])) for label in labels],
            scores,
            example_ids=self.seen_ids,
            provenance={"detector": "probe", "offset": self.settings.offset, **made},
        )

    def require_model(self, model: Any) -> None:
        """Refuse a model whose hidden states are not those that the probe was trained on.

        Args:
            model: A bridge.

        Raises:
            InputError: Another hidden size, other layers or heads, another name or other weights.
        """
        info = model_info(model)
        meta = {"model": info["name"], **{name: info[name] for name in SAME[1:3]}}
        self._require(int(model.cfg.d_model), model_shape(model), meta, "this model")

    def require_fits(self, one: Trajectory) -> None:
        """Refuse a response of another model, hook or score.

        Raises:
            InputError: With what differs.
        """
        self._require(one.hidden.shape[1], one.shape, one.meta, f"example {one.example_id!r}")

    def _require(
        self, d_model: int, shape: tuple[int, int], meta: Mapping[str, Any], what: str
    ) -> None:
        if (d_model, *shape) != (self.d_model, *self.shape):
            raise InputError(
                f"{what} has hidden size {d_model} and (layers, heads) {shape}, the probe was "
                f"trained on {self.d_model} and {self.shape}: it is of another model"
            )
        for name in SAME:
            ours, theirs = self.provenance.get(name), meta.get(name)
            if None not in (ours, theirs) and ours != theirs:
                raise InputError(
                    f"{what} has {name} {theirs!r}, the probe was trained on {ours!r}; "
                    "train one for it"
                )

    def require_unseen(self, found: Iterable[Trajectory]) -> None:
        """Refuse to be judged on an example that the probe was made on, or one with its answer.

        Raises:
            InputError: With the examples in question.
        """
        ids = set(map(without_layout, self.seen_ids))
        groups = set(self.provenance.get("seen_groups", ()))
        seen = sorted(
            one.example_id
            for one in found
            if without_layout(one.example_id) in ids or one.group in groups
        )
        if seen:
            raise InputError(
                f"this probe was trained or validated on example {seen[0]!r}, or on one with the "
                f"same answer ({len(seen)} in all), so it must not be judged on it; take other "
                "examples, or pass allow_overlap=True"
            )

    def to(self, device: Any) -> "Probe":
        """The same probe with its network on another device."""
        return replace(self, network=deepcopy(self.network).to(device))

    def save(self, path: str | Path) -> Path:
        """Write the probe to one safetensors file, atomically, and return its path.

        Raises:
            OSError: The file cannot be written; an older file stays as it was.
        """
        from retrieval_lens.analysis.probes.probe_file import save_probe

        return save_probe(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> "Probe":
        """Read a probe written by `save`; its network is on the CPU.

        Raises:
            FileNotFoundError: There is no such file.
            FileFormatError: The file is damaged, of a foreign format, or of another version.
        """
        from retrieval_lens.analysis.probes.probe_file import load_probe

        return load_probe(Path(path))
