"""Statistics of retrieval heads: how dynamic they are, what chance gives, intervals and tests."""

from retrieval_lens.analysis.cca import offset_cca
from retrieval_lens.analysis.comparing import McNemar, holm, mcnemar, wilson
from retrieval_lens.analysis.conditions import compare_conditions
from retrieval_lens.analysis.dynamism import dynamism
from retrieval_lens.analysis.head_activity import head_activity
from retrieval_lens.analysis.probes import (
    Probe,
    ProbeReport,
    asymmetric_loss,
    evaluate_probe,
    train_probe,
)
from retrieval_lens.analysis.published import beside_paper, published_table
from retrieval_lens.analysis.resampling import (
    Difference,
    Interval,
    bootstrap_mean,
    paired_bootstrap,
)
from retrieval_lens.analysis.retest import test_retest
from retrieval_lens.analysis.step_sets import StepSets, step_sets
from retrieval_lens.analysis.sweep import score_sweep
from retrieval_lens.analysis.trajectories import Trajectory, trajectories, trajectory
from retrieval_lens.analysis.unique_heads import unique_heads_curve

__all__ = [
    "Difference",
    "Interval",
    "McNemar",
    "Probe",
    "ProbeReport",
    "StepSets",
    "Trajectory",
    "asymmetric_loss",
    "beside_paper",
    "bootstrap_mean",
    "compare_conditions",
    "dynamism",
    "evaluate_probe",
    "head_activity",
    "holm",
    "mcnemar",
    "offset_cca",
    "paired_bootstrap",
    "published_table",
    "score_sweep",
    "step_sets",
    "test_retest",
    "train_probe",
    "trajectories",
    "trajectory",
    "unique_heads_curve",
    "wilson",
]
