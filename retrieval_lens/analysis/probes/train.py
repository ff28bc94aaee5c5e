"""Train a probe that predicts retrieval heads from the hidden state (Sec. 3.4, A.5).

1. Pair each hidden state with the heads `offset` steps later, and split the pairs (`pairs`).
2. Train the network (`training`), fit the baselines to the same training side (`baselines`).
3. Choose the threshold of each on the validation side.
4. Judge all of them on the test side (`report`).

Source: https://arxiv.org/abs/2602.11162; baselines, control and split by example are ours.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from retrieval_lens.analysis.probes.baselines import Baselines
from retrieval_lens.analysis.probes.checkpoint import Checkpoint
from retrieval_lens.analysis.probes.evaluate import judged, predictions
from retrieval_lens.analysis.probes.metrics import best_threshold
from retrieval_lens.analysis.probes.pairs import Pairs, Sides, pairs_of, sides_of
from retrieval_lens.analysis.probes.probe import Probe
from retrieval_lens.analysis.probes.settings import ProbeSettings
from retrieval_lens.analysis.probes.training import fit
from retrieval_lens.analysis.trajectories import MODEL, Trajectory, trajectories
from retrieval_lens.errors import InputError
from retrieval_lens.folders import versions
from retrieval_lens.scores import StepScore

COLUMNS = ["epoch", "train_loss", "val_loss", "learning_rate"]


def train_probe(
    traces: Any,
    kind: Any = "classifier",
    score: str | StepScore = "copy_paste",
    *,
    offset: Any = 0,
    hidden_at: str | None = None,
    widths: Any = None,
    dropout: Any = 0.1,
    epochs: Any = 100,
    batch_size: Any = 128,
    learning_rate: Any = 3e-4,
    patience: Any = 3,
    clip_norm: Any = 1.0,
    gamma_neg: Any = 4,
    gamma_pos: Any = 1,
    clip: Any = 0.05,
    reduction: Any = "mean",
    split: Any = "example",
    shares: Any = (0.7, 0.2, 0.1),
    early_stopping: Any = None,
    seed: Any = 0,
    device: Any = None,
    permuted_labels: bool = False,
    checkpoint: str | Path | None = None,
    keep_checkpoint: bool = False,
    progress: bool = True,
) -> Probe:
    """Train a network to predict, from the hidden state of step n, the heads of step n + offset.

    With `score="copy_paste"` and `offset=0`, the target depends on y_n, which the final hidden
    state determines: look at `base_rate_by_token` beside the probe.

    Same seed, same probe, on a CPU bit for bit. The caller's random state is left alone.

    Args:
        traces: Traces, trajectories or a corpus, of one model, each example once.
        kind: `classifier`: which heads are active, with the asymmetric loss; or `regressor`: their
            scores, with the squared error.
        score: Which score, for traces.
        offset: Steps between hidden state and target.
        hidden_at: Hook of the hidden states, for traces; None takes the first that was traced.
        widths: Of the hidden layers, none for a linear probe. None: the paper's [8192, 4096, 4096]
            on a GPU, [512, 256, 256] on a CPU.
        dropout: After each hidden layer.
        epochs: Passes over the training side.
        batch_size: Pairs a batch.
        learning_rate: Of Adam, at the start.
        patience: Epochs without a lower validation loss before the learning rate is divided by 10.
        clip_norm: Largest norm of a gradient.
        gamma_neg: Of the asymmetric loss.
        gamma_pos: Of the asymmetric loss.
        clip: Of the asymmetric loss.
        reduction: `mean`, `sum` or `batchmean`, of either loss. With `mean` over all heads
            gradients are small, with the others `clip_norm` cuts them.
        split: `example`: no example, and no answer of a needle, is on two sides. `step`: the
            paper's, which leaks between neighbouring steps of a response.
        shares: Of training, validation and test side.
        early_stopping: Stop after so many epochs without a lower validation loss, and take the
            weights of the best epoch. None: all epochs, the last weights, as in the paper.
        seed: Of split, weights, order, dropout and permutation.
        device: None takes a GPU if there is one.
        permuted_labels: The control task: targets change places as whole rows among all pairs.
            Selectivity (in the sense of Hewitt and Liang, https://arxiv.org/abs/1909.03368) is a
            metric of the probe's report minus that of the control's.
        checkpoint: File for the state of the training: a killed run that is started again goes on
            there, and ends with the same weights.
        keep_checkpoint: Leave that file when the training is done, to be deleted once the probe is
            saved.
        progress: Show a bar if it takes long.

    Raises:
        InputError: Too few examples to split, no response longer than the offset, no active head
            on the training or validation side, an argument out of range, traces that do not fit
            together, or a checkpoint of another training.
        UnknownNameError: No such kind, split, reduction, score or hook.
        NumericalError: NaN in the traces, or a loss that is NaN or infinite.
        FileFormatError: The checkpoint is damaged.

    Examples:
        ```python
        examples = [rl.needle_example(model.tokenizer, 40, seed=seed) for seed in range(3)]
        traces = [tracer.trace(one, max_new_tokens=4) for one in examples]
        probe = rl.analysis.train_probe(traces, "regressor", "reasoning", widths=[8], epochs=2)
        probe.report.metrics
        probe.top_heads(traces[0].hidden[0], 5)
        ```
    """
    settings = ProbeSettings(
        kind=kind,
        offset=offset,
        widths=widths,
        dropout=dropout,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        clip_norm=clip_norm,
        gamma_neg=gamma_neg,
        gamma_pos=gamma_pos,
        clip=clip,
        reduction=reduction,
        split=split,
        shares=shares,
        early_stopping=early_stopping,
        seed=seed,
        device=device,
        permuted_labels=permuted_labels,
    )
    found = trajectories(traces, score, hidden_at)
    pairs = pairs_of(found, settings)
    sides = sides_of(pairs, found, settings)
    _require_positive(pairs, sides, settings)
    data = [pairs.hidden, pairs.targets, sides.train, sides.validation]
    state = Checkpoint(checkpoint, settings.as_json(), data)
    run = fit(pairs, sides, settings, state, progress)
    history = pd.DataFrame(run.history, columns=COLUMNS)
    made = _provenance(found, pairs, sides, settings, run.best_epoch or len(history))
    probe = _assembled(run.network, pairs, sides, settings, history, found[0].shape, made)
    if not keep_checkpoint:
        state.done()
    return probe


def _assembled(
    network: Any,
    pairs: Pairs,
    sides: Sides,
    settings: ProbeSettings,
    history: pd.DataFrame,
    shape: tuple[int, int],
    provenance: dict[str, Any],
) -> Probe:
    """The probe with its baselines, thresholds and report."""
    train, validation, test = (
        pairs.subset(rows) for rows in (sides.train, sides.validation, sides.test)
    )
    by_step = settings.split == "step"
    probe = Probe(
        network=network,
        settings=settings,
        shape=shape,
        baselines=Baselines.fit(train),
        thresholds={},
        train_ids=pairs.example_ids if by_step else train.example_ids,
        validation_ids=validation.example_ids,
        test_ids=test.example_ids,
        history=history,
        report=None,
        provenance=provenance,
    )
    if settings.classifies:
        truth = validation.targets.numpy() > 0
        scores = predictions(probe, validation)
        best = {name: best_threshold(one, truth) for name, one in scores.items()}
        probe = replace(probe, thresholds=best)
    report = judged(probe, test, (1000, 0.95, settings.seed))
    return replace(probe, report=report, network=network.cpu())


def _require_positive(pairs: Pairs, sides: Sides, settings: ProbeSettings) -> None:
    """A classifier needs something to learn, and something to choose its threshold on."""
    if not settings.classifies:
        return
    for name, rows in (("training", sides.train), ("validation", sides.validation)):
        if not bool(pairs.targets[rows].any()):
            raise InputError(
                f"no head is active at any of the {len(rows)} steps of the {name} side, so there "
                "is nothing to learn; pass more examples, another score, or kind='regressor'"
            )


def _provenance(
    found: list[Trajectory], pairs: Pairs, sides: Sides, settings: ProbeSettings, epoch: int
) -> dict[str, Any]:
    known = {name: one.meta[name] for one in found for name in MODEL if name in one.meta}
    ids = {*pairs.subset(sides.train).example_ids, *pairs.subset(sides.validation).example_ids}
    seen = {one.group for one in found if one.example_id in ids and one.group != one.alone}
    ever = pairs.targets[sides.train].ne(0).any(0)
    sizes = {name: len(getattr(sides, name)) for name in ("train", "validation", "test")}
    return {
        **known,
        "settings": settings.as_json(),
        "seen_groups": sorted(seen),
        "n_pairs": sizes,
        "n_examples": len(pairs.example_ids),
        "n_too_short": len(found) - len(pairs.example_ids),
        "n_heads_never_active_in_training": int((~ever).sum()),
        "weights_of_epoch": epoch,
        "versions": versions("numpy", "scikit-learn"),
    }
