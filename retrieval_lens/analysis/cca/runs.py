"""In-sample and held-out CCA at every offset, their nulls, the baselines and the gain over them.

1. In-sample: fitted and judged on all examples. The strongest of many fitted directions correlate
   even in data where nothing does.
2. Held-out: PCs and directions from the training examples, signed correlations of the held-out
   ones in training order. The directions stay fixed while held-out examples are resampled, the
   layouts of one question together.
3. Nulls exchange whole trajectories of scores between examples of the same side of the split. The
   PCs stay, since they do not know what is paired with what; the directions are fitted anew.
4. Gain: what the hidden state adds to the baselines, over as many components as both have.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from retrieval_lens.analysis.cca.features import Projection, context_pcs, projected
from retrieval_lens.analysis.cca.pairs import Examples, Pairs, StepTable, exchanged, pairs_at
from retrieval_lens.analysis.cca.settings import CcaSettings
from retrieval_lens.analysis.cca.sides import (
    Correlations,
    Row,
    Sides,
    all_sides,
    hidden_sides,
    require_pairs,
)
from retrieval_lens.analysis.drawing import Weights, resample_weights
from retrieval_lens.errors import InputError
from retrieval_lens.progress import Advance

STEPS = ("all", "non_empty")


def in_sample_rows(table: StepTable, settings: CcaSettings, advance: Advance) -> Iterator[Row]:
    """Rows fitted and judged on all examples; their null uses the pairs of `in_sample`.

    Raises:
        InputError: Too few pairs at an offset, or nothing varies.
    """
    examples = np.arange(len(table.names))
    donors = exchanged(examples, settings.n_nulls, [settings.seed, 1])
    same = hidden_pcs(table, pairs_at(table, examples, settings.reach, settings.reach), settings)
    for offset in settings.offsets:
        shared = pairs_at(table, examples, offset, settings.reach)
        sides = hidden_sides(table, shared, offset, settings, same)
        yield from _in_sample(sides, "in_sample_same_support", shared, settings)
        pairs = pairs_at(table, examples, offset, offset)
        # the steps of the farthest offset are those that all offsets share
        if offset < settings.reach:
            hidden = hidden_pcs(table, pairs, settings)
            sides = hidden_sides(table, pairs, offset, settings, hidden)
        yield from _in_sample(sides, "in_sample", pairs, settings)
        advance(2)
        found, support = [], []
        for donor in donors:
            swapped = pairs_at(table, examples, offset, offset, donor)
            found.append(sides.fit("hidden", swapped, settings.n_components).correlations[None])
            support.append((swapped, swapped))
            advance()
        yield from _null(sides, "null_in_sample", "all", found, support, settings)


def held_out_rows(
    table: StepTable,
    split: tuple[Examples, Examples],
    settings: CcaSettings,
    advance: Advance,
) -> Iterator[Row]:
    """Rows fitted on the training examples and judged on the others.

    Raises:
        InputError: Too few pairs at an offset, or nothing varies.
    """
    fit_pairs = pairs_at(table, split[0], 0, settings.reach)
    hidden = hidden_pcs(table, fit_pairs, settings)
    context = context_pcs(table, fit_pairs.source, settings)
    weights = _weights(table, split[1], settings)
    donors = [
        exchanged(side, settings.n_nulls, [settings.seed, 2 + i]) for i, side in enumerate(split)
    ]
    for offset in settings.offsets:
        train, test = (pairs_at(table, side, offset, settings.reach) for side in split)
        require_pairs(table, test, offset)
        sides = all_sides(table, train, offset, settings, hidden, context)
        yield from _held_out(sides, table, train, test, weights, settings)
        advance(3)
        drawn = [
            tuple(
                pairs_at(table, side, offset, settings.reach, donor)
                for side, donor in zip(split, both, strict=True)
            )
            for both in zip(*donors, strict=True)
        ]
        yield from _null_held_out(sides, table, drawn, settings, advance)


def hidden_pcs(table: StepTable, pairs: Pairs, settings: CcaSettings) -> Projection:
    """PCs of the hidden states, fitted on some steps.

    Raises:
        InputError: They do not vary.
    """
    found = projected(table.hidden, pairs.source, settings.hidden_variance)
    if not found.n_pcs:
        raise InputError(
            f"the hidden states do not vary over the {len(pairs)} steps of {pairs.n_examples} "
            "examples; wanted different states: other examples, or smaller offsets"
        )
    return found


def _in_sample(sides: Sides, setting: str, pairs: Pairs, settings: CcaSettings) -> list[Row]:
    once = sides.fit("hidden", pairs, settings.n_components).correlations[None]
    support = [(pairs, pairs)]
    return sides.rows(setting, "hidden", "all", once, None, support, settings.confidence)


def _held_out(
    sides: Sides,
    table: StepTable,
    train: Pairs,
    test: Pairs,
    weights: Weights,
    settings: CcaSettings,
) -> Iterator[Row]:
    """Hidden states, baselines, both together, and the gain, at all and at non-empty steps."""
    names = {"held_out": "hidden", "baselines": "baselines", "hidden_and_baselines": "both"}
    fits = {
        features: sides.fit(features, train, settings.n_components) for features in names.values()
    }
    shared = min(fits[features].n_components for features in ("baselines", "both"))
    for steps in STEPS:
        judged = _at(steps, test, table)
        ones = np.ones((1, weights.shape[1]))
        found = {
            features: tuple(sides.judge(features, cca, judged, each) for each in (ones, weights))
            for features, cca in fits.items()
        }
        rest = [(train, judged)], settings.confidence
        for setting, features in names.items():
            once, draws = found[features]
            yield from sides.rows(setting, features, steps, once, draws, *rest)
        # a mean of differences is the difference of means, over the components that both have
        once, draws = (
            both[:, :shared] - known[:, :shared]
            for both, known in zip(found["both"], found["baselines"], strict=True)
        )
        yield from sides.rows("gain", "both", steps, once, draws, *rest)


def _null_held_out(
    sides: Sides,
    table: StepTable,
    drawn: Sequence[tuple[Pairs, ...]],
    settings: CcaSettings,
    advance: Advance,
) -> Iterator[Row]:
    """Fitted on exchanged training examples, judged on exchanged held-out ones."""
    ones = np.ones((1, len(table.names)))
    fits = []
    for train, _ in drawn:
        fits.append(sides.fit("hidden", train, settings.n_components))
        advance()
    for steps in STEPS:
        support = [(train, _at(steps, test, table)) for train, test in drawn]
        found = [
            sides.judge("hidden", cca, judged, ones)
            for cca, (_, judged) in zip(fits, support, strict=True)
        ]
        yield from _null(sides, "null_held_out", steps, found, support, settings)


def _null(
    sides: Sides,
    setting: str,
    steps: str,
    found: Sequence[Correlations],
    support: Sequence[tuple[Pairs, Pairs]],
    settings: CcaSettings,
) -> list[Row]:
    """Mean and interval over the permutations."""
    if not found:
        return []
    shared = min(one.shape[1] for one in found)
    draws = np.concatenate([one[:, :shared] for one in found])
    once = draws.mean(0, keepdims=True)
    return sides.rows(setting, "hidden", steps, once, draws, support, settings.confidence)


def _at(steps: str, pairs: Pairs, table: StepTable) -> Pairs:
    """All pairs, or those at whose target step a head is active."""
    return pairs if steps == "all" else pairs.where(table.filled[pairs.target])


def _weights(table: StepTable, test: Examples, settings: CcaSettings) -> Weights:
    """How often each example of the table is drawn; only held-out ones are."""
    strata, units = ([labels[i] for i in test] for labels in (table.strata, table.units))
    weights = np.zeros((settings.n_resamples, len(table.names)))
    drawn = resample_weights(len(test), strata, settings.n_resamples, settings.seed, units)
    weights[:, test] = drawn
    return weights
