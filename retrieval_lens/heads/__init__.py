"""Head sets: static, dynamic, random, published, and the controls that go with them."""

from retrieval_lens.heads.dynamic import Dynamic, dynamic_heads
from retrieval_lens.heads.dynamic_minus import DynamicMinus
from retrieval_lens.heads.example_static import ExampleStatic
from retrieval_lens.heads.head import Head
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.heads.layer_matched import LayerMatched
from retrieval_lens.heads.mass_matched import MassMatched
from retrieval_lens.heads.published import published_heads
from retrieval_lens.heads.random_outside import RandomOutside
from retrieval_lens.heads.random_sets import model_shape, random_heads
from retrieval_lens.heads.static import static_heads
from retrieval_lens.heads.static_by_count import StaticByCount
from retrieval_lens.heads.static_minus import StaticMinus
from retrieval_lens.heads.step_heads import CleanStep, Fixed, Scheduled, StepHeads, as_step_heads
from retrieval_lens.heads.time_shifted import TimeShifted

__all__ = [
    "CleanStep",
    "Dynamic",
    "DynamicMinus",
    "ExampleStatic",
    "Fixed",
    "Head",
    "HeadSet",
    "LayerMatched",
    "MassMatched",
    "RandomOutside",
    "Scheduled",
    "StaticByCount",
    "StaticMinus",
    "StepHeads",
    "TimeShifted",
    "as_step_heads",
    "dynamic_heads",
    "model_shape",
    "published_heads",
    "random_heads",
    "static_heads",
]
