"""What ablation costs, beside plain greedy decoding, in one run.

    python benchmarks/ablate.py                      # the embedded model on this machine
    python benchmarks/ablate.py --model llama-3.1-8b-shape --device cuda --dtype bfloat16 \
        --generate-at 5000 --conditions-at 50000

1. Two passes: dynamic generation over plain greedy decoding (sdpa, KV cache) of the same tokens,
   and over TransformerLens hooks on every pattern and every z, run twice a step. In turns, several
   rounds; prefill is left out of both.
2. Conditions: six conditions of one example as one batch, over one condition.
"""

import time
from pathlib import Path
from typing import Any

import measure
import models
import torch
import typer
from transformers import DynamicCache

import retrieval_lens as rl
from retrieval_lens.ablation.generation import Generation, Row, Setting
from retrieval_lens.models import attention_layers, eos_token_ids
from retrieval_lens.tracing.decoding import Decoder
from retrieval_lens.tracing.engine import open_decoder

N_EXAMPLES = 4  # whose responses are added up


def _ignore(n: int = 1) -> None:
    """No progress bar."""


class Timed(Generation):
    """A generation that notes how long each step took."""

    def __init__(self, decoder: Decoder, rows: list[Row], setting: Setting):
        super().__init__(decoder, rows, setting)
        self.times: list[float] = []

    def _step(self, tokens: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        found = super()._step(tokens)
        self.times.append(time.perf_counter() - start)
        return found


def dynamic(bridge: Any, example: rl.RetrievalExample, n: int) -> tuple[list[float], Row]:
    """Seconds of every step of dynamic two-pass generation."""
    ablator = rl.Ablator(bridge)
    row = Row(example, rl.Dynamic(), twice=True)
    setting = Setting(
        ablator.mode,
        attention_layers(bridge),
        ablator.shape,
        eos_token_ids(bridge),
        "ablated",
        False,
    )
    with open_decoder(bridge, "fast", lambda layer, pattern: None, replays=True) as decoder:
        run = Timed(decoder, [row], setting)
        run.prefill(n)
        run.run(n, _ignore)
    return run.times, row


@torch.inference_mode()
def plain_steps(plain: Any, example: rl.RetrievalExample, tokens: list[int]) -> list[float]:
    """Seconds of every step of plain decoding of the same tokens."""
    cache, times = DynamicCache(config=plain.config), []
    ids = example.token_ids.to(plain.device)
    plain(ids[None, :-1], past_key_values=cache, logits_to_keep=1)
    for token in [int(ids[-1]), *tokens[:-1]]:
        start = time.perf_counter()
        logits = plain(torch.tensor([[token]], device=plain.device), past_key_values=cache).logits
        int(logits[0, -1].argmax())
        times.append(time.perf_counter() - start)
    return times


@torch.inference_mode()
def hooked_steps(bridge: Any, plain: Any, example: Any, tokens: list[int]) -> list[float]:
    """Seconds of every step of two passes through TransformerLens, with hooks on every layer."""
    cache, times, kept = DynamicCache(config=plain.config), [], {}
    ids = example.token_ids.to(plain.device)
    plain(ids[None, :-1], past_key_values=cache, logits_to_keep=1)

    def read(pattern: torch.Tensor, hook: Any) -> None:
        kept[hook.name] = pattern[:, :, -1].argmax(-1)

    def mask(z: torch.Tensor, hook: Any) -> torch.Tensor:
        z[:, :, 0] = z[:, :, 0] * 1.0  # the cost of an edit, without its effect
        return z

    layers = attention_layers(bridge)
    first = [(f"blocks.{i}.attn.hook_pattern", read) for i in layers]
    second = [(f"blocks.{i}.attn.hook_z", mask) for i in layers]
    for token in [int(ids[-1]), *tokens[:-1]]:
        start = time.perf_counter()
        fed = torch.tensor([[token]], device=plain.device)
        bridge.run_with_hooks(fed, fwd_hooks=first, past_key_values=cache)
        cache.crop(-1)
        logits = bridge.run_with_hooks(fed, fwd_hooks=second, past_key_values=cache)
        int(logits[0, -1].argmax())
        times.append(time.perf_counter() - start)
    return times


def compare_generation(
    bridge: Any, plain: Any, n_tokens: int, n_new: int, rounds: int
) -> dict[str, Any]:
    """Ratios of whole responses, the median over rounds."""
    examples = [models.example(bridge, n_tokens, seed) for seed in range(N_EXAMPLES)]
    dynamic(bridge, examples[0], 2)
    ratios, hooked, masks = [], [], []
    for _ in range(rounds):
        spent, base, twice, masks = 0.0, 0.0, 0.0, []
        for example in examples:
            times, row = dynamic(bridge, example, n_new)
            spent += sum(times)
            base += sum(plain_steps(plain, example, row.tokens))
            twice += sum(hooked_steps(bridge, plain, example, row.tokens))
            masks += row.masks
        ratios.append(spent / base)
        hooked.append(twice / base)
    share = sum(bool(mask.any()) for mask in masks) / len(masks)
    return {
        "what": "two passes",
        "prompt tokens": n_tokens,
        "steps": len(masks),
        "share of steps run twice": round(share, 2),
        "over plain": round(measure.median(ratios), 2),
        "range": [round(min(ratios), 2), round(max(ratios), 2)],
        "hooks twice over plain": round(measure.median(hooked), 2),
    }


def compare_conditions(bridge: Any, n_tokens: int, n_new: int, rounds: int) -> dict[str, Any]:
    """Six conditions as one batch, over one; and the prefill alone."""
    example = models.example(bridge, n_tokens)
    ablator = rl.Ablator(bridge)
    fixed = [rl.random_heads(bridge, 5, seed=i) for i in range(4)]
    six = {"dynamic": rl.Dynamic(), "none": None, **{str(i): s for i, s in enumerate(fixed)}}
    device = example.token_ids.device
    one_at = {"dynamic": rl.Dynamic()}
    ablator.generate_many(example, one_at, 2)
    ratios, ones, sixes, prefills = [], [], [], []
    for _ in range(rounds):
        prefills.append(measure.seconds(lambda: ablator.generate_many(example, one_at, 1), device))
        ones.append(measure.seconds(lambda: ablator.generate_many(example, one_at, n_new), device))
        sixes.append(measure.seconds(lambda: ablator.generate_many(example, six, n_new), device))
        ratios.append(sixes[-1] / ones[-1])
    return {
        "what": "six conditions",
        "prompt tokens": n_tokens,
        "prefill and one step, s": round(measure.median(prefills), 2),
        "one condition, s": round(measure.median(ones), 2),
        "six conditions, s": round(measure.median(sixes), 2),
        "six over one": round(measure.median(ratios), 2),
        "range": [round(min(ratios), 2), round(max(ratios), 2)],
    }


def main(
    model: str = "smollm2-135m",
    device: str = "cpu",
    dtype: str = "float32",
    generate_at: str = "300,2000",
    conditions_at: str = "2000",
    n_new: int = 48,
    rounds: int = 5,
    out: Path | None = None,
) -> None:
    """Measure both and print a table; `--out` writes JSON."""
    bridge, plain = models.load(model, device, dtype)
    plain.set_attn_implementation("sdpa")
    results = [
        compare_generation(bridge, plain, int(n), n_new, rounds) for n in generate_at.split(",")
    ]
    results += [compare_conditions(bridge, int(n), n_new, rounds) for n in conditions_at.split(",")]
    measure.report(results, f"{model} {dtype} on {device}", out)


if __name__ == "__main__":
    typer.run(main)
