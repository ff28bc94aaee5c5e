"""Shared fixtures. The heavy packages come first: jaxtyping's import hook would recompile them."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import circuitsvis  # noqa: F401
import pandas  # noqa: F401
import plotly.graph_objects  # noqa: F401
import pytest
import sklearn  # noqa: F401
import torch
import transformer_lens.model_bridge.sources  # noqa: F401
import transformers  # noqa: F401
from hypothesis import settings

settings.register_profile("same every time", derandomize=True, deadline=None)
settings.load_profile("same every time")


@pytest.fixture(scope="session")
def smollm2():
    """The embedded real model, on the CPU in float32."""
    import retrieval_lens as rl

    return rl.load_model("smollm2-135m", device="cpu", dtype="float32")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
