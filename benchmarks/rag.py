"""What an answer costs under each strategy of Dynamic RAG, over plain generation.

    python benchmarks/rag.py                           # the embedded model on this machine
    python benchmarks/rag.py --device cuda --dtype bfloat16 --model meta-llama/Llama-3.1-8B-Instruct

1. Plain: transformers' generate (sdpa, KV cache) with the whole context, at most as many tokens. A
   strategy also ends at "the answer is …", which plain generation does not.
2. Each strategy alone, with its own prefill of the whole context; then all of them together, which
   share one.
3. In turns over the questions, several rounds; seconds per question, and the median of the ratios.
"""

from pathlib import Path
from typing import Any

import measure
import models
import torch
import typer

import retrieval_lens as rl
from retrieval_lens import rag


def strategies(bridge: Any, k: int) -> dict[str, Any]:
    """One of each kind; the probe has learnt nothing, but has the widths of a CPU."""
    others = rl.tasks.hotpotqa.own(bridge.tokenizer, n_paragraphs=4)[40:46]
    traces = rl.RetrievalTracer(bridge).trace_many(others, max_new_tokens=12, progress=False)
    options = {"widths": [512, 256, 256], "epochs": 1, "progress": False}
    probe = rl.analysis.train_probe(traces, "regressor", "reasoning", **options)
    ranking = rl.static_heads(traces, k=None, score="reasoning")
    dynamic = rag.Dynamic(probe, k=k)
    return {
        "no_context": rag.NoContext(),
        "full_context": rag.FullContext(),
        "dynamic": dynamic,
        "static": rag.Static(ranking, k=k),
        "oracle_dynamic": rag.OracleDynamic(k=k),
        "dynamic_random": rag.DynamicRandom(k=k),
        "fixed_random": rag.FixedRandom(k=k),
        "gold_spans": rag.GoldSpans(),
        "bm25": rag.BM25(like=dynamic),
        "random_windows": rag.RandomWindows(like=dynamic),
    }


@torch.inference_mode()
def generate(plain: Any, question: Any, n_new: int) -> None:
    """Plain greedy generation with the whole context."""
    ids = question.token_ids.unsqueeze(0).to(plain.device)
    plain.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=n_new)


def main(
    model: str = "smollm2-135m",
    device: str = "cpu",
    dtype: str = "float32",
    n_questions: int = 4,
    n_paragraphs: int = 10,
    max_tokens: int = 64,
    threshold: float = 0.5,
    k: int = 5,
    rounds: int = 2,
    out: Path | None = None,
) -> None:
    """Measure and print a table; `--out` writes JSON."""
    bridge, plain = models.load(model, device, dtype)
    plain.set_attn_implementation("sdpa")
    questions = rl.tasks.hotpotqa.own(bridge.tokenizer, n_paragraphs=n_paragraphs)[:n_questions]
    settings = rag.Settings(rag.RIND(threshold), max_tokens=max_tokens)
    known = strategies(bridge, k)
    where = next(plain.parameters()).device
    base: list[float] = []
    took: dict[str, list[float]] = {name: [] for name in (*known, "all together")}
    for turn in range(rounds + 1):  # the first warms up
        for question in questions if turn else questions[:1]:
            every: dict[str, Any] = {name: {name: one} for name, one in known.items()}
            every["all together"] = known
            plains = measure.seconds(lambda q=question: generate(plain, q, max_tokens), where)
            times = {
                name: measure.seconds(
                    lambda q=question, s=some: rag.answer_many(
                        bridge, [q], s, settings, progress=False
                    ),
                    where,
                )
                for name, some in every.items()
            }
            if turn:
                base.append(plains)
                for name, value in times.items():
                    took[name].append(value)
    results = [
        {
            "what": name,
            "seconds per question": round(measure.median(values), 2),
            "time over plain": round(
                measure.median([a / b for a, b in zip(values, base, strict=True)]), 2
            ),
        }
        for name, values in took.items()
    ]
    results.append({"what": "plain", "seconds per question": round(measure.median(base), 2)})
    measure.report(results, f"{model} {dtype} on {device}, {n_questions} questions", out)


if __name__ == "__main__":
    typer.run(main)
