"""What tracing costs, beside plain transformers and TransformerLens, in one run.

    python benchmarks/trace.py                       # the embedded model on this machine
    python benchmarks/trace.py --model llama-3.1-8b-shape --device cuda --dtype bfloat16 \
        --decode-at 5000,50000 --prefill-at 5000,50000 --batch-at 5000

1. Decode step: every way takes the same steps after the same prompt, in turns over several rounds;
   the figure is the median step of the median round, over that of plain sdpa with a KV cache.
2. Prefill: seconds and rise of peak memory, each way in a process of its own.
3. Batches: traces per second of `trace_many(batch_size=8)` over batch_size=1.
"""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure
import models
import torch
import transformers
import typer
from rich.console import Console
from rich.table import Table
from transformers import DynamicCache

import retrieval_lens as rl
from retrieval_lens.tracing.assembly import StepLog
from retrieval_lens.tracing.decoding import greedy_decode
from retrieval_lens.tracing.engine import open_decoder
from retrieval_lens.tracing.recorder import RowRecorder
from retrieval_lens.tracing.twin import twin_of

Steps = Callable[[Any, Any, rl.RetrievalExample, int], list[float]]
console = Console(soft_wrap=True)


def timed_steps(feed: Callable[[torch.Tensor], torch.Tensor], n: int, first: int) -> list[float]:
    """Seconds of `n` greedy steps; `feed` takes a token and returns logits."""
    token, times = torch.tensor([[first]]), []
    for _ in range(n):
        start = time.perf_counter()
        token = feed(token)[:, -1].argmax(-1, keepdim=True)
        int(token)
        times.append(time.perf_counter() - start)
    return times


def prefilled(plain: Any, example: rl.RetrievalExample) -> DynamicCache:
    """All but the last prompt token, in sdpa."""
    plain.set_attn_implementation("sdpa")
    cache = DynamicCache(config=plain.config)
    plain(example.token_ids[None, :-1].to(plain.device), past_key_values=cache, logits_to_keep=1)
    return cache


@torch.inference_mode()
def steps_sdpa(bridge: Any, plain: Any, example: rl.RetrievalExample, n: int) -> list[float]:
    """Plain transformers, sdpa, KV cache: the yardstick."""
    cache = prefilled(plain, example)
    return timed_steps(
        lambda token: plain(token.to(plain.device), past_key_values=cache).logits,
        n,
        int(example.token_ids[-1]),
    )


@torch.inference_mode()
def steps_eager(bridge: Any, plain: Any, example: rl.RetrievalExample, n: int) -> list[float]:
    """Plain transformers, eager, every pattern returned."""
    cache = prefilled(plain, example)
    plain.set_attn_implementation("eager")

    def feed(token: torch.Tensor) -> torch.Tensor:
        out = plain(token.to(plain.device), past_key_values=cache, output_attentions=True)
        assert out.attentions[0] is not None
        return out.logits

    return timed_steps(feed, n, int(example.token_ids[-1]))


@torch.inference_mode()
def steps_hooks(bridge: Any, plain: Any, example: rl.RetrievalExample, n: int) -> list[float]:
    """TransformerLens run_with_hooks on every hook_pattern, keeping the arg-max."""
    cache, kept = prefilled(plain, example), {}
    names = [f"blocks.{i}.attn.hook_pattern" for i in range(bridge.cfg.n_layers)]

    def keep(pattern: torch.Tensor, hook: Any) -> None:
        kept[hook.name] = pattern[:, :, -1].argmax(-1)

    def feed(token: torch.Tensor) -> torch.Tensor:
        return bridge.run_with_hooks(
            token.to(plain.device),
            fwd_hooks=[(name, keep) for name in names],
            past_key_values=cache,
        )

    return timed_steps(feed, n, int(example.token_ids[-1]))


@torch.inference_mode()
def steps_cache(bridge: Any, plain: Any, example: rl.RetrievalExample, n: int) -> list[float]:
    """TransformerLens run_with_cache of everything."""
    cache = prefilled(plain, example)
    return timed_steps(
        lambda token: bridge.run_with_cache(token.to(plain.device), past_key_values=cache)[0],
        n,
        int(example.token_ids[-1]),
    )


def steps_trace(bridge: Any, plain: Any, example: rl.RetrievalExample, n: int) -> list[float]:
    """Ours: both default scores, hidden states and top positions of every head."""
    tracer = rl.RetrievalTracer(bridge)
    layers = list(range(bridge.cfg.n_layers))
    recorder, log, times = RowRecorder(tracer.scores, layers, [example.evidence]), StepLog(), []
    with open_decoder(bridge, "fast", recorder.listen, tracer.hidden_at) as decoder:
        steps = greedy_decode(decoder, recorder, [example.token_ids], n, [])
        start = None
        for step in steps:
            log.add(step, 0)
            if start is not None:
                times.append(time.perf_counter() - start)
            start = time.perf_counter()
    return times


WAYS: dict[str, Steps] = {
    "plain sdpa": steps_sdpa,
    "trace": steps_trace,
    "plain eager, output_attentions": steps_eager,
    "TransformerLens run_with_hooks": steps_hooks,
    "TransformerLens run_with_cache": steps_cache,
}


def decode(bridge: Any, plain: Any, lengths: list[int], rounds: int, n: int) -> list[dict]:
    """Median decode step of each way at each length."""
    rows = []
    for length in lengths:
        example = models.example(bridge, length)
        medians: dict[str, list[float]] = {name: [] for name in WAYS}
        rl.RetrievalTracer(bridge).trace(example, 2)  # the proof of the fast engine, once
        for _ in range(rounds):
            for name, steps in WAYS.items():
                medians[name].append(measure.median(steps(bridge, plain, example, n)[1:]))
        base = medians["plain sdpa"]
        for name, values in medians.items():
            ratios = [value / other for value, other in zip(values, base, strict=True)]
            rows.append(
                {
                    "context": length,
                    "way": name,
                    "ms": 1e3 * measure.median(values),
                    "ratio": measure.median(ratios),
                    "ratios": [round(ratio, 3) for ratio in ratios],
                }
            )
    return rows


@torch.inference_mode()
def prefill_once(way: str, model: str, device: str, dtype: str, length: int) -> dict[str, float]:
    """Seconds and peak memory of one way, in this process."""
    bridge, plain = models.load(model, device, dtype)
    place = torch.device(device)
    runner = plain if way == "sdpa" else twin_of(bridge)
    short, example = models.example(bridge, 200), models.example(bridge, length)

    def run(one: rl.RetrievalExample) -> None:
        if way == "sdpa":
            cache = DynamicCache(config=runner.config)
            runner(one.token_ids[None, :-1].to(place), past_key_values=cache, logits_to_keep=1)
        else:
            with open_decoder(bridge, "fast", lambda layer, row: None, ()) as decoder:
                decoder.prefill([one.token_ids], 64)

    run(short)
    with measure.peak_megabytes(place) as peak:
        took = measure.seconds(lambda: run(example), place)
    return {"seconds": took, "megabytes": peak[0]}


def prefill(model: str, device: str, dtype: str, lengths: list[int], rounds: int) -> list[dict]:
    """Prefill of `trace` over plain sdpa, each in fresh processes, in turns."""
    rows = []
    for length in lengths:
        runs: dict[str, list[dict]] = {"sdpa": [], "trace": []}
        for _ in range(rounds):
            for way, results in runs.items():
                arguments = ["prefill-one", way, model, device, dtype, str(length)]
                done = subprocess.run(
                    [sys.executable, __file__, *arguments],
                    capture_output=True,
                    check=True,
                    text=True,
                )
                results.append(json.loads(done.stdout.splitlines()[-1]))
        row: dict[str, Any] = {"prompt": length}
        for unit in ("seconds", "megabytes"):
            sdpa, ours = (measure.median([run[unit] for run in runs[way]]) for way in runs)
            row |= {f"sdpa {unit}": sdpa, f"trace {unit}": ours, f"{unit} ratio": ours / sdpa}
        rows.append(row)
    return rows


def batches(bridge: Any, lengths: list[int], rounds: int, n: int) -> list[dict]:
    """Traces per second of a batch of 8 over one at a time."""
    rows, tracer = [], rl.RetrievalTracer(bridge)
    place = next(bridge.original_model.parameters()).device
    for length in lengths:
        examples = [models.example(bridge, length, seed) for seed in range(8)]
        tracer.trace(examples[0], 2)
        ratios, rates = [], {1: [], 8: []}
        for _ in range(rounds):
            for size in rates:
                took = measure.seconds(
                    lambda size=size, examples=examples: tracer.trace_many(
                        examples, size, n, progress=False
                    ),
                    place,
                )
                rates[size].append(len(examples) / took)
            ratios.append(rates[8][-1] / rates[1][-1])
        rows.append(
            {
                "prompt": length,
                "batch 1 per second": measure.median(rates[1]),
                "batch 8 per second": measure.median(rates[8]),
                "ratio": measure.median(ratios),
                "ratios": [round(ratio, 2) for ratio in ratios],
            }
        )
    return rows


def show(title: str, rows: list[dict]) -> None:
    """One table."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)


def numbers(text: str) -> list[int]:
    """`1000,4000` as a list; empty text is an empty list."""
    return [int(part) for part in text.split(",") if part]


app = typer.Typer(add_completion=False)


@app.command("prefill-one")
def prefill_one(way: str, model: str, device: str, dtype: str, length: int) -> None:
    """One prefill measurement as a line of JSON; used by the main run."""
    sys.stdout.write(json.dumps(prefill_once(way, model, device, dtype, length)) + "\n")


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    model: str = "smollm2-135m",
    device: str = "cpu",
    dtype: str = "float32",
    decode_at: str = "256,2048",
    prefill_at: str = "1000,4000,8000",
    batch_at: str = "300,2000",
    rounds: int = 5,
    steps: int = 24,
    out: Path | None = None,
) -> None:
    """Measure everything and print it; `--out FILE` also writes it as JSON."""
    if context.invoked_subcommand is not None:
        return
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "model": model,
        "dtype": dtype,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    if numbers(prefill_at):
        result["prefill"] = prefill(model, device, dtype, numbers(prefill_at), min(rounds, 3))
        show("Prefill, trace over plain sdpa", result["prefill"])
    bridge, plain = models.load(model, device, dtype)
    if numbers(decode_at):
        result["decode"] = decode(bridge, plain, numbers(decode_at), rounds, steps)
        show("Decode step over plain sdpa", result["decode"])
    if numbers(batch_at):
        result["batches"] = batches(bridge, numbers(batch_at), min(rounds, 3), 48)
        show("Traces per second", result["batches"])
    if out is not None:
        out.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    app()
