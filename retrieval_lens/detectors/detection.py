"""What a detector found: the score of every head, example by example."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval_lens.errors import FileFormatError, InputError, NumericalError, RetrievalLensError
from retrieval_lens.files import load_json, save_json
from retrieval_lens.heads import HeadSet

if TYPE_CHECKING:
    from pandas import DataFrame

KIND = "detection"


@dataclass(frozen=True, eq=False)
class Detection:
    """Scores of all heads of one model, kept apart by example so that halves can be compared.

    The score of a head is the sum of its totals over the sum of the weights.

    Attributes:
        totals: `[example, layer, head]`, what each example adds, float64.
        weights: `[example]`, what each example counts, float64; 0 for those left out.
        example_ids: One an example, those left out too: they were judged when they were left out.
        detector: Name and parameters of the detector, JSON-able.
        threshold: A head counts in `share` where its score is at least this.
        model: The model's `model_info`.
        conventions: How the traces were made, where there were any.
        details: Numbers about the examples, one list entry each.
        groups: One an example, the same for the layouts of one question; empty where no example
            is of a question.

    Raises:
        InputError: Sizes that do not fit, a negative weight, or no weight at all.
        NumericalError: NaN or infinity.
    """

    totals: Float[Tensor, "example layer head"]
    weights: Float[Tensor, " _"]
    example_ids: tuple[str, ...]
    detector: Mapping[str, Any]
    threshold: float | int
    model: Mapping[str, Any] = field(default_factory=dict)
    conventions: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Sequence[float]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.example_ids)
        if self.totals.ndim != 3 or 0 in self.totals.shape or self.weights.shape != (n,):
            raise InputError(
                f"wanted totals [example, layer, head] and weights [example] for {n} examples; got "
                f"{list(self.totals.shape)} and {list(self.weights.shape)}"
            )
        if len(self.totals) != n or any(len(values) != n for values in self.details.values()):
            raise InputError(f"totals and details must have one entry for each of {n} examples")
        if self.groups and len(self.groups) != n:
            raise InputError(
                f"{len(self.groups)} groups for {n} examples; wanted one each, or none"
            )
        if not self.totals.isfinite().all() or not self.weights.isfinite().all():
            raise NumericalError("a score of the detection is NaN or infinite")
        if self.weights.min() < 0 or self.weights.sum() == 0:
            raise InputError("weights must not be negative, and at least one must be above 0")

    @property
    def n_samples(self) -> int:
        """Examples in all."""
        return len(self.example_ids)

    @property
    def used(self) -> list[int]:
        """Indices of the examples that count."""
        return (self.weights > 0).nonzero().flatten().tolist()

    @property
    def units(self) -> list[list[int]]:
        """`used`, the examples of one group together."""
        found: dict[Any, list[int]] = {}
        for i in self.used:
            found.setdefault(self.groups[i] if self.groups else i, []).append(i)
        return list(found.values())

    @property
    def scores(self) -> Float[Tensor, "layer head"]:
        """The score of every head."""
        return self.scores_of(self.used)

    @property
    def share(self) -> float:
        """Share of all heads whose score is at least `threshold`."""
        return float((self.scores >= self.threshold).double().mean())

    def scores_of(self, examples: Sequence[int]) -> Float[Tensor, "layer head"]:
        """The score of every head from some of the examples alone.

        Args:
            examples: Their indices.

        Raises:
            InputError: None of them counts.
        """
        chosen = torch.tensor(list(examples), dtype=torch.long)
        weight = self.weights[chosen].sum()
        if weight == 0:
            raise InputError("none of these examples counts, so they give no scores")
        # Left-out examples keep their totals for the record.
        counted = chosen[self.weights[chosen] > 0]
        return self.totals[counted].sum(0) / weight

    def heads(self, k: Any = None) -> HeadSet:
        """The `k` strongest heads, ties by layer and head; None takes all.

        Raises:
            InputError: `k` out of range.
        """
        from retrieval_lens.detectors.ranking import as_head_set

        return as_head_set(self, k)

    def frame(self) -> "DataFrame":
        """Columns `layer`, `head`, `score`, strongest first; `attrs` says how it was made."""
        import pandas as pd

        ranked = self.scores.flatten().sort(descending=True, stable=True)
        n_heads = self.totals.shape[2]
        columns = {
            "layer": (ranked.indices // n_heads).tolist(),
            "head": (ranked.indices % n_heads).tolist(),
            "score": ranked.values.tolist(),
        }
        frame = pd.DataFrame(columns)
        frame.attrs.update(self.provenance())
        return frame

    def provenance(self) -> dict[str, Any]:
        """How the scores were made, JSON-able; goes with every frame and head set."""
        return {
            "detector": self.detector.get("name"),
            "parameters": dict(self.detector),
            "threshold": self.threshold,
            "share_above": self.share,
            "n_samples": self.n_samples,
            "n_used": len(self.used),
            "example_ids": list(self.example_ids),
            "n_layers": self.totals.shape[1],
            "n_heads": self.totals.shape[2],
            "model": dict(self.model),
            "conventions": dict(self.conventions),
        }

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, atomically, and return the path.

        Raises:
            OSError: The file cannot be written; an older file stays as it was.
        """
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        tensors = {name: content[name].tolist() for name in ("totals", "weights")}
        return save_json(path, KIND, {**content, **tensors})

    @classmethod
    def load(cls, path: str | Path) -> "Detection":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            FileFormatError: The file is damaged, or of another kind.
        """
        content = load_json(path, KIND)
        try:
            for name in ("totals", "weights"):
                content[name] = torch.tensor(content[name], dtype=torch.float64)
            content["example_ids"] = tuple(content["example_ids"])
            # files of older versions have no groups
            content["groups"] = tuple(content.get("groups", ()))
            return cls(**content)
        except (KeyError, TypeError, ValueError, RetrievalLensError) as error:
            raise FileFormatError(f"{path} is no detection: {error!r}") from error
