"""Runs the recipes of `docs/adding/` as they stand, on a tiny model in place of the real one."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from retrieval_lens.models.loading import load_model
from tests.tiny_models import FAMILIES
from tests.tokenizers_at_hand import tokenizer

FOLDER = Path(__file__).parents[2] / "docs" / "adding"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@cache
def tiny() -> Any:
    """Three layers of four heads with random weights, and a tokenizer."""
    words = tokenizer("byte_level_bpe")
    config = FAMILIES["llama-gqa"]()
    config.vocab_size, config.max_position_embeddings = len(words), 2048
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
    return load_model(hf_model=model, tokenizer=words)


def run_page(name: str) -> dict[str, Any]:
    """Run every Python block of a page, and give what they defined."""
    path = FOLDER / f"{name}.md"
    namespace: dict[str, Any] = {"__name__": f"docs.adding.{name}"}
    text = path.read_text("utf-8")
    for block in BLOCK.finditer(text):
        lines = "\n" * (text[: block.start()].count("\n") + 1)  # errors show the page's lines
        exec(compile(lines + block[1], str(path), "exec"), namespace)
    return namespace
