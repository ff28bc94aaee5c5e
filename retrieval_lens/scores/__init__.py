"""Step scores: how much one head retrieves at one decode step."""

from retrieval_lens.scores.base import AttentionRows, DecodedSteps, StepScore, check_scores
from retrieval_lens.scores.copy_paste import CopyPaste, copy_paste_score, copy_targets
from retrieval_lens.scores.reasoning import Reasoning, reasoning_score

__all__ = [
    "AttentionRows",
    "CopyPaste",
    "DecodedSteps",
    "Reasoning",
    "StepScore",
    "check_scores",
    "copy_paste_score",
    "copy_targets",
    "reasoning_score",
]
