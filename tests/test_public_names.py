"""What `import retrieval_lens as rl` offers, and how little it costs."""

import subprocess
import sys

import pytest

import retrieval_lens as rl

NAMES = {
    "AblatedRun", "AblationMode", "Ablator", "AttentionRows", "CopyPaste", "Corpus", "DecodedSteps",
    "Dynamic", "DynamicMinus", "ExampleStatic", "Head", "HeadSet", "LayerMatched", "MassMatched",
    "RandomOutside", "Reasoning", "RetrievalExample", "RetrievalTracer", "StaticByCount",
    "StaticMinus", "StepHeads", "StepScore", "TimeShifted", "Trace", "ablation", "analysis",
    "collect", "compare_heads", "corpora", "detect_heads", "detectors", "dynamic_heads", "errors",
    "experiments", "heads", "rag",
    "load_model", "model_info", "models", "needle_example", "published_heads", "random_heads",
    "scores", "static_heads", "tasks", "tracing", "types", "viz",
}  # fmt: skip


def test_public_names():
    assert set(rl.__all__) == NAMES
    assert {name for name in dir(rl) if not name.startswith("_")} == NAMES
    for name in NAMES:
        assert getattr(rl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'needle_exmaple'"):
        _ = rl.needle_exmaple


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, retrieval_lens, retrieval_lens.viz, retrieval_lens.models\n"
        "import retrieval_lens.cli\n"
        "heavy = {'torch', 'transformers', 'transformer_lens', 'pandas', 'circuitsvis'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
