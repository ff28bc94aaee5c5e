"""The public names."""

from retrieval_lens import analysis

NAMES = {
    "Difference", "Interval", "McNemar", "Probe", "ProbeReport", "StepSets", "Trajectory",
    "asymmetric_loss", "beside_paper", "bootstrap_mean",
    "compare_conditions", "dynamism", "evaluate_probe", "head_activity",
    "holm", "mcnemar", "offset_cca", "paired_bootstrap", "published_table",
    "score_sweep", "step_sets", "test_retest", "train_probe", "trajectories", "trajectory",
    "unique_heads_curve", "wilson",
}  # fmt: skip


def test_public_names():
    assert set(analysis.__all__) == NAMES
    assert all(callable(getattr(analysis, name)) for name in NAMES)
