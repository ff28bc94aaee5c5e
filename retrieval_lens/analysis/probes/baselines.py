"""What can be said about the heads without the hidden state, fitted to the training side.

1. `base_rate`: each head's mean target (how often it is active, or its mean score). This is the
   static predictor: the same heads at every step.
2. `base_rate_by_step`: the mean at the same step index; `base_rate_by_token`: the mean where the
   same token y_n was predicted. A table row rests on its n pairs and on `SMOOTHING` more at the
   base rate: (sum + SMOOTHING × rate) / (n + SMOOTHING). An index or token that the training side
   does not have gets the base rate.
3. `previous_scores`: the last scores known, of step n, or of step n − 1 at offset 0; at the first
   step, where none is known, the base rate.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval_lens.analysis.probes.pairs import Pairs

SMOOTHING = 2.0
NAMES = ("base_rate", "base_rate_by_step", "base_rate_by_token", "previous_scores")


@dataclass(frozen=True, eq=False)
class Baselines:
    """Tables of the training side; `label` is layer × heads + head.

    Attributes:
        rate: `[label]`.
        by_step: `[step, label]`, from step index 0.
        tokens: `[token]`, the token ids of `by_token`, in order.
        by_token: `[token, label]`.
    """

    rate: Float[Tensor, " label"]
    by_step: Float[Tensor, "step label"]
    tokens: Int[Tensor, " token"]
    by_token: Float[Tensor, "token label"]

    @classmethod
    def fit(cls, pairs: Pairs) -> "Baselines":
        """The tables of these pairs."""
        rate = pairs.targets.double().mean(0)
        tokens, which = pairs.token.unique(return_inverse=True)
        return cls(
            rate=rate.float(),
            by_step=_table(pairs.step, int(pairs.step.max()) + 1, pairs.targets, rate),
            tokens=tokens,
            by_token=_table(which, len(tokens), pairs.targets, rate),
        )

    def predict(self, pairs: Pairs) -> dict[str, Float[Tensor, "pair label"]]:
        """What each baseline says of each pair's target."""
        rate = self.rate.expand(len(pairs), -1)
        place = torch.searchsorted(self.tokens, pairs.token).clamp(max=len(self.tokens) - 1)
        seen = {
            "base_rate_by_step": (pairs.step < len(self.by_step))[:, None],
            "base_rate_by_token": (self.tokens[place] == pairs.token)[:, None],
        }
        found = {
            "base_rate_by_step": self.by_step[pairs.step.clamp(max=len(self.by_step) - 1)],
            "base_rate_by_token": self.by_token[place],
        }
        tables = {name: torch.where(seen[name], found[name], rate) for name in found}
        previous = torch.where(pairs.previous.isnan(), rate, pairs.previous)
        return {"base_rate": rate, **tables, "previous_scores": previous}

    def as_tensors(self) -> dict[str, Tensor]:
        """The tables by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _table(
    row: Int[Tensor, " pair"],
    n_rows: int,
    targets: Float[Tensor, "pair label"],
    rate: Float[Tensor, " label"],
) -> Float[Tensor, "row label"]:
    sums = torch.zeros(n_rows, targets.shape[1], dtype=torch.float64)
    sums.index_add_(0, row, targets.double())
    n = torch.bincount(row, minlength=n_rows)[:, None]
    return ((sums + SMOOTHING * rate) / (n + SMOOTHING)).float()
