"""Mask heads in forward passes, in generation, and at single steps."""

from retrieval_lens.ablation.ablated_run import AblatedRun
from retrieval_lens.ablation.ablator import Ablator
from retrieval_lens.ablation.compensation import compensation
from retrieval_lens.ablation.modes import MODES, AblationMode, Mean, mean_z

__all__ = ["MODES", "AblatedRun", "AblationMode", "Ablator", "Mean", "compensation", "mean_z"]
