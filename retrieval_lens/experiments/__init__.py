"""Grids of runs that survive: what to run, where, and what came out of it."""

from retrieval_lens.errors import GridError
from retrieval_lens.experiments.ablation_grid import AblationGrid
from retrieval_lens.experiments.conditions import (
    Condition,
    Known,
    condition_names,
    register_condition,
)
from retrieval_lens.experiments.grid import Grid, grid_from_json, register_grid
from retrieval_lens.experiments.needle_grid import NeedleGrid
from retrieval_lens.experiments.question_grid import QuestionGrid
from retrieval_lens.experiments.rag_grid import RagGrid
from retrieval_lens.experiments.rag_results import load_answers
from retrieval_lens.experiments.reading import load_active, load_static
from retrieval_lens.experiments.results import load_results, load_step_effects
from retrieval_lens.experiments.runner import run_grid
from retrieval_lens.experiments.status import GridStatus, grid_status
from retrieval_lens.experiments.strategy_means import strategy_means

__all__ = [
    "AblationGrid",
    "Condition",
    "Grid",
    "GridError",
    "GridStatus",
    "Known",
    "NeedleGrid",
    "QuestionGrid",
    "RagGrid",
    "condition_names",
    "grid_from_json",
    "grid_status",
    "load_active",
    "load_answers",
    "load_results",
    "load_static",
    "load_step_effects",
    "register_condition",
    "register_grid",
    "run_grid",
    "strategy_means",
]
