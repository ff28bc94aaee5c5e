"""Judge a probe on examples that it has not seen.

1. Responses become pairs as at training, with the probe's offset (and permuted labels for a control
   probe).
2. Examples that the probe was trained or validated on are refused: a probe split by step has seen
   all of its own, and its `report` is the only word on its test side.
3. Thresholds and baselines are those of training; nothing is fitted here.
"""

from typing import Any

from retrieval_lens.analysis.checks import require_settings
from retrieval_lens.analysis.probes.metrics import Scores
from retrieval_lens.analysis.probes.pairs import Pairs, pairs_of
from retrieval_lens.analysis.probes.probe import Probe
from retrieval_lens.analysis.probes.report import ProbeReport, report_on
from retrieval_lens.analysis.trajectories import trajectories
from retrieval_lens.scores import StepScore


def evaluate_probe(
    probe: Probe,
    traces: Any,
    *,
    score: str | StepScore | None = None,
    allow_overlap: bool = False,
    n_resamples: int = 1000,
    confidence: float | int = 0.95,
    seed: int = 0,
) -> ProbeReport:
    """How well the probe does on other examples, beside its baselines.

    Args:
        probe: From `train_probe`, or loaded.
        traces: Traces, trajectories or a corpus of the probe's model.
        score: For traces; None takes the probe's. One that was given as an object must be given
            again.
        allow_overlap: Accept examples that the probe was trained or validated on.
        n_resamples: How often examples are drawn anew, stratified by haystack.
        confidence: Of the intervals.
        seed: Of the draws.

    Raises:
        InputError: Examples that the probe has seen, another model, hook or score, no response
            longer than the offset, or a parameter out of range.
        UnknownNameError: The traces lack the probe's score or hook.
        NumericalError: NaN in the traces.
    """
    require_settings(n_resamples, confidence, seed)
    name = probe.provenance.get("score", "copy_paste") if score is None else score
    found = trajectories(traces, name, probe.provenance.get("hidden_at"))
    for one in found:
        probe.require_fits(one)
    if not allow_overlap:
        probe.require_unseen(found)
    return judged(probe, pairs_of(found, probe.settings), (n_resamples, float(confidence), seed))


def judged(probe: Probe, pairs: Pairs, draws: tuple[int, float, int]) -> ProbeReport:
    """The report on these pairs; `draws` are number, confidence and seed of the resamples."""
    rate = probe.baselines.rate.numpy()
    scores = predictions(probe, pairs)
    return report_on(scores, pairs, rate, probe.shape, probe.thresholds, draws)


def predictions(probe: Probe, pairs: Pairs) -> dict[str, Scores]:
    """`[pair, label]` of the probe and of each baseline."""
    found = {"probe": probe.predict(pairs.hidden).flatten(1)} | probe.baselines.predict(pairs)
    return {name: scores.numpy() for name, scores in found.items()}
