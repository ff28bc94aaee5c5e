"""Pairs (hidden state, target) out of responses, and their three sides.

1. The hidden state of step n is paired with what the heads do at step n + offset; pairs past the
   end of a response are dropped.
2. The target is which heads are active (classifier) or their scores (regressor), all heads of the
   model in one axis, `label` = layer × heads + head.
3. Beside each pair stands what is known without the hidden state: the target's step index, the
   token y_n, and the last known scores: those of step n, or of n − 1 at offset 0, where those of n
   are the target.
4. Sides: split by example no example is on two of them, and needle examples with the same answer
   (in another haystack, say) stay together. Split by step, as in the paper, neighbours of one
   response are on different sides: that leaks.
5. Permuted labels: the targets change places as whole rows among all pairs, so that base rates and
   which heads fire together stay, and every link to the hidden state is cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval_lens.analysis.drawing import unit_of
from retrieval_lens.analysis.probes.settings import ProbeSettings
from retrieval_lens.analysis.trajectories import Trajectory
from retrieval_lens.errors import InputError

SPLIT, PERMUTATION = 1, 2  # each draw has a stream of its own


@dataclass(frozen=True, eq=False)
class Pairs:
    """Hidden states with their targets.

    Attributes:
        hidden: `[pair, d_model]`.
        targets: `[pair, label]`, 0 or 1, or scores.
        filled: `[pair]`, whether a head is active at the target's step.
        previous: `[pair, label]`, the last known scores; NaN where none is known.
        step: `[pair]`, index of the target's step.
        token: `[pair]`, y_n, the token predicted at the hidden state's step.
        owner: `[pair]`, which of `example_ids` it is from.
        example_ids: Of the examples that have a pair.
        strata: Haystack of each of them.
        units: Which of them intervals draw together.
    """

    hidden: Float[Tensor, "pair d_model"]
    targets: Float[Tensor, "pair label"]
    filled: Bool[Tensor, " pair"]
    previous: Float[Tensor, "pair label"]
    step: Int[Tensor, " pair"]
    token: Int[Tensor, " pair"]
    owner: Int[Tensor, " pair"]
    example_ids: tuple[str, ...]
    strata: tuple[str, ...]
    units: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.hidden)

    def subset(self, rows: Int[Tensor, " _"]) -> "Pairs":
        """The pairs at `rows`, with only the examples that they are from."""
        kept, owner = self.owner[rows].unique(return_inverse=True)
        return Pairs(
            hidden=self.hidden[rows],
            targets=self.targets[rows],
            filled=self.filled[rows],
            previous=self.previous[rows],
            step=self.step[rows],
            token=self.token[rows],
            owner=owner,
            example_ids=tuple(self.example_ids[i] for i in kept.tolist()),
            strata=tuple(self.strata[i] for i in kept.tolist()),
            units=tuple(self.units[i] for i in kept.tolist()),
        )


def pairs_of(found: Sequence[Trajectory], settings: ProbeSettings) -> Pairs:
    """All pairs of these responses, labels permuted if the settings say so.

    Raises:
        InputError: No response is longer than the offset.
    """
    offset = settings.offset
    used = [one for one in found if one.n_steps > offset]
    if not used:
        longest = max(one.n_steps for one in found)
        raise InputError(
            f"offset={offset}, but the longest response has {longest} steps, so no pair is left; "
            f"take an offset below {longest}"
        )
    ends = [one.n_steps - offset for one in used]
    targets = [one.active if settings.classifies else one.scores for one in used]
    pairs = Pairs(
        hidden=torch.cat([one.hidden[:n] for one, n in zip(used, ends, strict=True)]).cpu(),
        targets=torch.cat([one[offset:].flatten(1).float() for one in targets]).cpu(),
        filled=torch.cat([one.active[offset:].flatten(1).any(1) for one in used]).cpu(),
        previous=torch.cat([_known(one, offset) for one in used]).cpu(),
        step=torch.cat([torch.arange(offset, one.n_steps) for one in used]),
        token=torch.cat([one.tokens[:n] for one, n in zip(used, ends, strict=True)]).cpu().long(),
        owner=torch.repeat_interleave(torch.arange(len(used)), torch.tensor(ends)),
        example_ids=tuple(one.example_id for one in used),
        strata=tuple(str(one.stratum) for one in used),
        units=tuple(unit_of(one) for one in used),
    )
    return _permuted(pairs, settings.seed) if settings.permuted_labels else pairs


def _known(one: Trajectory, offset: int) -> Float[Tensor, "pair label"]:
    """Scores of the hidden state's own step, or of the step before if its own are the target."""
    scores = one.scores.flatten(1).float()
    if offset:
        return scores[: one.n_steps - offset]
    return torch.cat([torch.full_like(scores[:1], torch.nan), scores[:-1]])


def _permuted(pairs: Pairs, seed: int) -> Pairs:
    order = torch.from_numpy(np.random.default_rng([seed, PERMUTATION]).permutation(len(pairs)))
    return replace(pairs, targets=pairs.targets[order], filled=pairs.filled[order])


@dataclass(frozen=True, eq=False)
class Sides:
    """Rows of the pairs on each side.

    Attributes:
        train: What the weights are fitted to.
        validation: What learning rate, stopping and thresholds are chosen on.
        test: What the report is about.
    """

    train: Int[Tensor, " train"]
    validation: Int[Tensor, " validation"]
    test: Int[Tensor, " test"]


def sides_of(pairs: Pairs, found: Sequence[Trajectory], settings: ProbeSettings) -> Sides:
    """The sides of a seeded split, each with at least one example (or one pair).

    Raises:
        InputError: Fewer than three examples, answers or pairs.
    """
    if settings.split == "step":
        return Sides(*_parts(torch.arange(len(pairs)), "pairs", settings))
    groups = {one.example_id: one.group for one in found}
    names = [groups[name] for name in pairs.example_ids]
    group = torch.from_numpy(np.unique(names, return_inverse=True)[1])[pairs.owner]
    parts = _parts(group, "examples with answers of their own", settings)
    return Sides(*(torch.isin(group, part).nonzero()[:, 0] for part in parts))


def _parts(units: Int[Tensor, " _"], what: str, settings: ProbeSettings) -> list[Tensor]:
    """The distinct units in random order, cut into three parts."""
    distinct = units.unique()
    n = len(distinct)
    if n < 3:
        raise InputError(
            f"split={settings.split!r} needs at least three {what}, one for each side; there are "
            f"{n} that are longer than the offset {settings.offset}: pass more"
        )
    order = np.random.default_rng([settings.seed, SPLIT]).permutation(n)
    n_test = max(1, round(settings.shares[2] * n))
    n_validation = max(1, min(round(settings.shares[1] * n), n - n_test - 1))
    n_test = min(n_test, n - n_validation - 1)
    drawn = distinct[torch.from_numpy(order)]
    return list(drawn.split([n - n_validation - n_test, n_validation, n_test]))
