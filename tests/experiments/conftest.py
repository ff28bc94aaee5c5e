import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from retrieval_lens.experiments import NeedleGrid, run_grid
from tests.tokenizers_at_hand import tokenizer

TINY = NeedleGrid(
    n_tokens=40,
    depths=0.2,
    seeds=(0, 1),
    detection_seeds=9,
    detection_depths=0.5,
    conditions=("none", "dynamic", "dynamic_k", "static_by_count", "static", "random"),
    k=1,
    random_draws=2,
    max_new_tokens=5,
    device="cpu",
)


@pytest.fixture(scope="session")
def tiny_run(smollm2, tmp_path_factory) -> tuple[Path, Any]:
    """A tiny grid of the real model, run in this process: its folder and its frame."""
    out = tmp_path_factory.mktemp("tiny")
    return out, run_grid(TINY, out, model=smollm2)


@pytest.fixture(scope="session")
def random_run(tmp_path_factory) -> tuple[NeedleGrid, Path, Any]:
    """A grid of a tiny random model in a folder, run in this process: grid, folder, frame.

    Its heads copy nothing, so the dynamic ones are those with attention on the needle.
    """
    folder, out = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("random")
    words = tokenizer("byte_level_bpe")
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=len(words), max_position_embeddings=1024, **shape, **heads)
        LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    fields = {"models": str(folder), "score": "reasoning", "static_k": 5, "depths": [0.2, 0.9]}
    grid = NeedleGrid.from_json(TINY.as_json() | fields)
    return grid, out, run_grid(grid, out)


def without_floats(folder: Path) -> dict[str, Any]:
    """Tokens and head sets of every cell."""
    kept = {}
    for path in sorted((folder / "cells").iterdir()):
        result = json.loads(path.read_text())["content"]["result"]
        runs = {
            name: (run["tokens"], run["masked"], run["compensated"], run["outcome"])
            for name, run in result.get("runs", {}).items()
        }
        kept[path.name] = runs, result.get("clean", {}).get("active"), result.get("count")
    return kept
