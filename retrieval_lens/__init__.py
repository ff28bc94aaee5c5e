"""Trace retrieval heads at every decode step, on TransformerLens.

`import retrieval_lens as rl` is cheap: what a name needs (torch, transformers, plotly) is imported
when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_lens import (
        ablation,
        analysis,
        corpora,
        detectors,
        errors,
        experiments,
        heads,
        models,
        rag,
        scores,
        tasks,
        tracing,
        types,
        viz,
    )
    from retrieval_lens.ablation import AblatedRun, AblationMode, Ablator
    from retrieval_lens.corpora import Corpus, collect
    from retrieval_lens.detectors import compare_heads, detect_heads
    from retrieval_lens.heads import (
        Dynamic,
        DynamicMinus,
        ExampleStatic,
        Head,
        HeadSet,
        LayerMatched,
        MassMatched,
        RandomOutside,
        StaticByCount,
        StaticMinus,
        StepHeads,
        TimeShifted,
        dynamic_heads,
        published_heads,
        random_heads,
        static_heads,
    )
    from retrieval_lens.models import load_model, model_info
    from retrieval_lens.scores import AttentionRows, CopyPaste, DecodedSteps, Reasoning, StepScore
    from retrieval_lens.tasks import RetrievalExample, needle_example
    from retrieval_lens.tracing import RetrievalTracer, Trace

__version__ = "0.1.0"

__all__ = [
    "AblatedRun",
    "AblationMode",
    "Ablator",
    "AttentionRows",
    "CopyPaste",
    "Corpus",
    "DecodedSteps",
    "Dynamic",
    "DynamicMinus",
    "ExampleStatic",
    "Head",
    "HeadSet",
    "LayerMatched",
    "MassMatched",
    "RandomOutside",
    "Reasoning",
    "RetrievalExample",
    "RetrievalTracer",
    "StaticByCount",
    "StaticMinus",
    "StepHeads",
    "StepScore",
    "TimeShifted",
    "Trace",
    "ablation",
    "analysis",
    "collect",
    "compare_heads",
    "corpora",
    "detect_heads",
    "detectors",
    "dynamic_heads",
    "errors",
    "experiments",
    "heads",
    "load_model",
    "model_info",
    "models",
    "needle_example",
    "published_heads",
    "rag",
    "random_heads",
    "scores",
    "static_heads",
    "tasks",
    "tracing",
    "types",
    "viz",
]

_HOME = {
    "AblatedRun": "ablation",
    "AblationMode": "ablation",
    "Ablator": "ablation",
    "Corpus": "corpora",
    "collect": "corpora",
    "compare_heads": "detectors",
    "detect_heads": "detectors",
    "Dynamic": "heads",
    "DynamicMinus": "heads",
    "ExampleStatic": "heads",
    "Head": "heads",
    "HeadSet": "heads",
    "LayerMatched": "heads",
    "MassMatched": "heads",
    "RandomOutside": "heads",
    "StaticByCount": "heads",
    "StaticMinus": "heads",
    "StepHeads": "heads",
    "TimeShifted": "heads",
    "dynamic_heads": "heads",
    "published_heads": "heads",
    "random_heads": "heads",
    "static_heads": "heads",
    "load_model": "models",
    "model_info": "models",
    "AttentionRows": "scores",
    "CopyPaste": "scores",
    "DecodedSteps": "scores",
    "Reasoning": "scores",
    "StepScore": "scores",
    "RetrievalExample": "tasks",
    "needle_example": "tasks",
    "RetrievalTracer": "tracing",
    "Trace": "tracing",
}


if not TYPE_CHECKING:  # or a checker of types would take any name

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
