"""Trace retrieval heads at every decode step, on TransformerLens.

`import retrieval_lens as rl` is cheap: what a name needs (torch, transformers, plotly) is imported
when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_lens import errors, models, scores, tasks, tracing, types, viz
    from retrieval_lens.models import load_model, model_info
    from retrieval_lens.scores import AttentionRows, CopyPaste, DecodedSteps, Reasoning, StepScore
    from retrieval_lens.tasks import RetrievalExample, needle_example
    from retrieval_lens.tracing import RetrievalTracer, Trace

__version__ = "0.1.0"

__all__ = [
    "AttentionRows",
    "CopyPaste",
    "DecodedSteps",
    "Reasoning",
    "RetrievalExample",
    "RetrievalTracer",
    "StepScore",
    "Trace",
    "errors",
    "load_model",
    "model_info",
    "models",
    "needle_example",
    "scores",
    "tasks",
    "tracing",
    "types",
    "viz",
]

_HOME = {
    "AttentionRows": "scores",
    "CopyPaste": "scores",
    "DecodedSteps": "scores",
    "Reasoning": "scores",
    "StepScore": "scores",
    "RetrievalExample": "tasks",
    "needle_example": "tasks",
    "load_model": "models",
    "model_info": "models",
    "RetrievalTracer": "tracing",
    "Trace": "tracing",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in __all__:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
