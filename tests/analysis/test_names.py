"""The public names."""

from retrieval_lens import analysis

NAMES = {
    "Difference", "Interval", "McNemar", "StepSets", "beside_paper", "bootstrap_mean",
    "compare_conditions", "dynamism", "head_activity",
    "holm", "mcnemar", "paired_bootstrap", "published_table",
    "step_sets", "test_retest", "unique_heads_curve", "wilson",
}  # fmt: skip


def test_public_names():
    assert set(analysis.__all__) == NAMES
    assert all(callable(getattr(analysis, name)) for name in NAMES)
