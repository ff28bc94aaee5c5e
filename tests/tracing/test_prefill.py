"""Neither engine builds an n x n attention pattern while it prefills."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from retrieval_lens.tracing.engine import open_decoder
from tests.tiny_models import tiny_bridge
from tests.tracing.test_families import example

N = 101


class Squares(TorchDispatchMode):
    """Counts tensors that have two axes as long as the prompt."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple) else (result,):
            if isinstance(value, torch.Tensor) and list(value.shape).count(N - 1) >= 2:
                self.found.append((str(function), tuple(value.shape)))
        return result


@pytest.mark.parametrize("engine", ["fast", "hooks"])
@pytest.mark.parametrize("family", ["llama-gqa", "qwen3", "phi3", "gpt2", "gpt-neox"])
def test_prefill_is_linear(family, engine):
    bridge = tiny_bridge(family)
    ids = example(N).token_ids
    with open_decoder(bridge, engine, lambda layer, row: None, ()) as decoder, Squares() as seen:
        decoder.prefill([ids], 4)
    assert seen.found == []


def test_the_bridge_itself_would_be_noticed():
    bridge = tiny_bridge("llama-gqa")
    with torch.inference_mode(), Squares() as seen:
        bridge(example(N).token_ids[None, :-1])
    assert seen.found
