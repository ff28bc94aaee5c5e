"""What collecting a corpus, offset CCA and a probe cost, in one run.

    python benchmarks/predict.py                       # the embedded model on this machine
    python benchmarks/predict.py --model llama-3.1-8b-shape --device cuda --dtype bfloat16

1. Collecting: examples per second over plain greedy generation (sdpa, KV cache) of the same
   examples, one by one and in batches; in turns, several rounds.
2. Offset CCA at 20,000 steps, hidden states of 4,096 and 1,024 heads: time, and memory above the
   data.
3. One epoch of a probe at the paper's widths [8192, 4096, 4096] on as many steps.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import measure
import models
import torch
import typer

import retrieval_lens as rl
from retrieval_lens.analysis import Trajectory

STEPS_AN_EXAMPLE = 50


@torch.inference_mode()
def generate(bridge: Any, plain: Any, examples: list[Any], n_new: int, batch: int) -> int:
    """Plain greedy generation of all examples; how many tokens came out."""
    padding = getattr(bridge.tokenizer, "pad_token_id", None) or 0
    n_tokens = 0
    for start in range(0, len(examples), batch):
        rows = [one.token_ids for one in examples[start : start + batch]]
        longest = max(map(len, rows))
        ids = torch.stack([torch.nn.functional.pad(r, (longest - len(r), 0)) for r in rows])
        mask = torch.stack([(torch.arange(longest) >= longest - len(r)).long() for r in rows])
        options = {"do_sample": False, "max_new_tokens": n_new, "pad_token_id": padding}
        out = plain.generate(ids.to(plain.device), attention_mask=mask.to(plain.device), **options)
        n_tokens += out[:, longest:].numel()
    return n_tokens


def collecting(bridge: Any, plain: Any, n: int, n_new: int, rounds: int) -> list[dict[str, Any]]:
    """Ratios of time, the median over rounds."""
    examples = [models.example(bridge, 200, seed) for seed in range(n)]
    device = examples[0].token_ids.device
    results = []
    for batch in (1, 8):
        ours, plains = [], []
        for turn in range(rounds + 1):  # the first warms up
            folder = Path(tempfile.mkdtemp())
            options = {"max_new_tokens": n_new, "batch_size": batch, "progress": False}
            part = examples if turn else examples[:batch]
            took = measure.seconds(
                lambda f=folder, p=part, o=options: rl.collect(bridge, p, f / "c", **o), device
            )
            base = measure.seconds(
                lambda b=batch, p=part: generate(bridge, plain, p, n_new, b), device
            )
            size = sum(one.stat().st_size for one in folder.rglob("*.safetensors"))
            shutil.rmtree(folder)
            if turn:
                ours.append(took)
                plains.append(base)
        ratios = [a / b for a, b in zip(ours, plains, strict=True)]
        results.append(
            {
                "what": f"collecting, {batch} at a time",
                "examples": n,
                "examples per second": round(n / measure.median(ours), 2),
                "plain examples per second": round(n / measure.median(plains), 2),
                "time over plain": round(measure.median(ratios), 2),
                "range": [round(min(ratios), 2), round(max(ratios), 2)],
                "MB an example": round(size / n / 2**20, 2),
            }
        )
    return results


def made_up(n_steps: int, d_model: int, n_heads: int) -> list[Trajectory]:
    """Hidden states with a decaying spectrum, and heads that depend on some of their directions."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.arange(1, d_model + 1).float().rsqrt()
    mix = torch.randn(d_model, n_heads, generator=generator) * scale.unsqueeze(1)
    found = []
    for i in range(n_steps // STEPS_AN_EXAMPLE):
        hidden = torch.randn(STEPS_AN_EXAMPLE, d_model, generator=generator) * scale
        noise = torch.randn(STEPS_AN_EXAMPLE, n_heads, generator=generator)
        scores = (hidden @ mix + noise > 3).float().unflatten(1, (32, n_heads // 32))
        ids = torch.randint(100, (STEPS_AN_EXAMPLE,), generator=generator)
        found.append(Trajectory(hidden, scores, scores > 0.5, ids, ids, f"made-up-{i}"))
    return found


def analysis(n_steps: int, d_model: int, n_heads: int, n_nulls: int) -> dict[str, Any]:
    """Time and memory of the whole frame at one offset and at eleven."""
    found, cpu = made_up(n_steps, d_model, n_heads), torch.device("cpu")
    options = {"n_nulls": n_nulls, "progress": False}
    with measure.peak_megabytes(cpu) as peak:
        one = measure.seconds(lambda: rl.analysis.offset_cca(found, offsets=[0], **options), cpu)
    return {
        "what": "offset CCA",
        "steps, d_model, heads": [n_steps, d_model, n_heads],
        "nulls": n_nulls,
        "one offset, s": round(one, 1),
        "memory above the data, MB": round(peak[0]),
        "the data, MB": round(n_steps * (d_model + n_heads) * 4 / 2**20),
    }


def probing(
    n_steps: int, d_model: int, n_heads: int, widths: list[int], device: str
) -> dict[str, Any]:
    """Seconds of one epoch: two epochs less one, so that what surrounds them is left out."""
    found, where = made_up(n_steps, d_model, n_heads), torch.device(device)
    options = {"widths": widths, "device": device, "progress": False}
    times = [
        measure.seconds(lambda e=n: rl.analysis.train_probe(found, epochs=e, **options), where)
        for n in (1, 2)
    ]
    return {
        "what": "one probe epoch",
        "widths": widths,
        "steps, d_model, heads": [n_steps, d_model, n_heads],
        "device": device,
        "one epoch, s": round(times[1] - times[0], 1),
        "training of one epoch with splits and report, s": round(times[0], 1),
    }


def main(
    model: str = "smollm2-135m",
    device: str = "cpu",
    dtype: str = "float32",
    n_examples: int = 16,
    n_new: int = 48,
    rounds: int = 3,
    n_steps: int = 20_000,
    d_model: int = 4_096,
    n_heads: int = 1_024,
    n_nulls: int = 1,
    widths: str = "8192,4096,4096",
    parts: str = "collect,cca,probe",
    out: Path | None = None,
) -> None:
    """Measure all three and print tables; `--out` writes JSON."""
    results: list[dict[str, Any]] = []
    if "collect" in parts:
        bridge, plain = models.load(model, device, dtype)
        plain.set_attn_implementation("sdpa")
        results += collecting(bridge, plain, n_examples, n_new, rounds)
    if "cca" in parts:
        results.append(analysis(n_steps, d_model, n_heads, n_nulls))
    if "probe" in parts:
        sizes = [int(width) for width in widths.split(",")]
        results.append(probing(n_steps, d_model, n_heads, sizes, device))
    measure.report(results, f"{model} {dtype} on {device}", out)


if __name__ == "__main__":
    typer.run(main)
