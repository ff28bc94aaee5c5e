"""What came out of one ablated generation, and which heads were masked at every step of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.files import load_json, save_json
from retrieval_lens.heads import HeadSet
from retrieval_lens.types import ActiveHeads


@dataclass(frozen=True, eq=False)
class AblatedRun:
    """One response under ablation.

    Attributes:
        example_id: The example.
        tokens: `[step]`, the token kept at each step, the end-of-sequence token included.
        clean_tokens: `[step]`, what the clean pass of the step predicted; -1 where none was run.
        text: The response, special tokens removed.
        truncated: Whether the response ran into `max_new_tokens`.
        mask: `[step, layer, head]`, the masked heads.
        active: `[step, layer, head]`, D_t of the clean pass; all False where none was run.
        active_masked: The same of the masked pass, by its own token (H' of the paper).
        active_masked_clean_token: The same of the masked pass, by the clean pass's token.
        scored: `[step]`, whether a clean pass was scored at the step.
        metrics: How right the response is; see `tasks.response_metrics`.
        outcome: In one word; see `tasks.response_outcome`.
        provenance: Model, example, heads, mode, conventions and versions, JSON-able.
    """

    example_id: str
    tokens: Int[Tensor, " step"]
    clean_tokens: Int[Tensor, " step"]
    text: str
    truncated: bool
    mask: ActiveHeads
    active: ActiveHeads
    active_masked: ActiveHeads
    active_masked_clean_token: ActiveHeads
    scored: Bool[Tensor, " step"]
    metrics: dict[str, float] = field(default_factory=dict)
    outcome: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One line; the tensors would fill the screen."""
        heads = float(self.n_masked.float().mean()) if self.n_steps else 0.0
        text = self.text if len(self.text) <= 40 else self.text[:39] + "…"
        return (
            f"AblatedRun({self.example_id}, {self.n_steps} steps, {heads:.1f} heads masked a step, "
            f"outcome={self.outcome!r}, text={text!r})"
        )

    @property
    def n_steps(self) -> int:
        """Decode steps of the response."""
        return len(self.tokens)

    @property
    def masked(self) -> tuple[HeadSet, ...]:
        """The masked heads of each step, by layer and head."""
        return tuple(HeadSet.from_mask(step) for step in self.mask)

    @property
    def n_masked(self) -> Int[Tensor, " step"]:
        """`[step]`, how many heads were masked."""
        return self.mask.sum((1, 2))

    def compensated(self, token: str = "masked") -> list[HeadSet]:
        """E_{s,t}: heads active in the step's masked pass that were not in its clean pass.

        Empty where the step was not run twice (arXiv 2602.11162, Sec. 3.3).

        Args:
            token: y_t of the masked pass: its own (`"masked"`) or the clean pass's (`"clean"`).

        Raises:
            InputError: Neither of the two.
        """
        if token not in ("masked", "clean"):
            raise InputError(f"token is 'masked' or 'clean', not {token!r}")
        after = self.active_masked if token == "masked" else self.active_masked_clean_token
        return [HeadSet.from_mask(step) for step in after & ~self.active]

    def save(self, path: str | Path) -> Path:
        """Write the run as JSON, atomically, and return the path.

        Raises:
            OSError: The file cannot be written; an older file stays as it was.
        """
        return save_json(path, "ablated_run", self.as_json())

    @classmethod
    def load(cls, path: str | Path) -> "AblatedRun":
        """Read a run written by `save`.

        Raises:
            FileFormatError: The file is damaged, or of another kind.
        """
        return cls.from_json(load_json(path, "ablated_run"))

    def as_json(self) -> dict[str, Any]:
        """The run as JSON types; heads as pairs (layer, head) a step."""
        sets = {name: [step.nonzero().tolist() for step in getattr(self, name)] for name in _SETS}
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            **{name: getattr(self, name).tolist() for name in _ROWS},
            **sets,
            "shape": list(self.mask.shape[1:]),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, content: Any) -> "AblatedRun":
        """The run of `as_json`.

        Raises:
            FileFormatError: Something else.
        """
        try:
            n_layers, n_heads = content["shape"]
            rows: dict[str, Any] = {
                name: torch.tensor(content[name], dtype=_ROWS[name]) for name in _ROWS
            }
            sets: dict[str, Any] = {name: _mask(content[name], n_layers, n_heads) for name in _SETS}
            plain: dict[str, Any] = {name: content[name] for name in _PLAIN}
            lengths = {len(value) for value in (*rows.values(), *sets.values())}
            if len(lengths) > 1:
                raise InputError(f"its parts have different numbers of steps: {sorted(lengths)}")
            return cls(**plain, **rows, **sets, provenance=content["provenance"])
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError, InputError) as error:
            raise FileFormatError(f"this is no ablated run: {error!r}") from error


_PLAIN = ("example_id", "text", "truncated", "metrics", "outcome")
_ROWS = {"tokens": torch.long, "clean_tokens": torch.long, "scored": torch.bool}
_SETS = ("mask", "active", "active_masked", "active_masked_clean_token")


def _mask(steps: Any, n_layers: int, n_heads: int) -> Tensor:
    masks = [HeadSet(heads).mask(n_layers, n_heads) for heads in steps]
    return torch.stack(masks) if masks else torch.zeros(0, n_layers, n_heads, dtype=torch.bool)
