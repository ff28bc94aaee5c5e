"""`retrieval-lens ablate`: one needle under several conditions, and the effect on single steps."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval_lens.cli import options
from retrieval_lens.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from retrieval_lens.heads import HeadSet
    from retrieval_lens.tracing import RetrievalTracer

CONDITIONS = (
    "none",
    "dynamic",
    "static_by_count",
    "static",
    "random",
    "time_shifted",
    "layer_matched",
    "dynamic_minus_static",
)


class ModeName(StrEnum):
    """What a masked head reads instead."""

    zero = "zero"
    uniform = "uniform"
    knockout = "knockout"


def ablate(
    model: options.Model = "smollm2-135m",
    n_tokens: options.Tokens = 200,
    depth: options.Depth = 0.5,
    seed: options.Seed = 0,
    haystack: options.Haystack = None,
    needle: options.Needle = "magic_word",
    condition: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join(CONDITIONS)}; may be repeated; all by default."),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(
            help="A static ranking (from detect --out); by default it is detected on two needles."
        ),
    ] = None,
    k: Annotated[int, typer.Option(help="Heads of the static and the random set.")] = 20,
    mode: Annotated[ModeName, typer.Option(help="What a masked head reads instead.")] = (
        ModeName.zero
    ),
    max_new_tokens: options.MaxNewTokens = 64,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    out: Annotated[
        Path | None, typer.Option(help="Write responses, heads and effects here (JSON).")
    ] = None,
) -> None:
    """Mask heads of one needle prompt: its own at every step, and the controls."""
    from rich.console import Console

    from retrieval_lens.ablation import Ablator
    from retrieval_lens.models import load_model
    from retrieval_lens.tasks import needle_example
    from retrieval_lens.tracing import RetrievalTracer

    names = tuple(condition or CONDITIONS)
    for name in names:
        if name not in CONDITIONS:
            raise UnknownNameError(f"no condition {name!r}; known: {', '.join(CONDITIONS)}")
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out} is in a folder that does not exist")
    bridge = load_model(model, device=device, dtype=dtype)
    example = needle_example(bridge.tokenizer, n_tokens, depth, seed, haystack, needle=needle)
    tracer = RetrievalTracer(bridge, hidden_at=())
    ranking = _ranking(heads, tracer, n_tokens, needle, seed)
    trace = tracer.trace(example, max_new_tokens)
    ablator = Ablator(bridge, mode.value)
    chosen = {name: _strategy(name, bridge, ranking, k) for name in names}
    runs = ablator.generate_many(example, chosen, max_new_tokens, trace=trace)
    effects = ablator.step_effects(trace, chosen)
    _print(Console(), example.evidence_text, runs, effects)
    if out is not None:
        content = {"runs": {name: run.as_json() for name, run in runs.items()}}
        content |= {"step_effects": effects.to_dict(orient="records")}
        out.write_text(json.dumps(content, indent=1), "utf-8")


def _ranking(
    path: Path | None, tracer: "RetrievalTracer", n_tokens: int, needle: str, seed: int
) -> "HeadSet":
    """All heads, strongest first, from a file or from two other needles."""
    from retrieval_lens.heads import HeadSet, static_heads
    from retrieval_lens.tasks import needle_example

    if path is not None:
        return HeadSet.load(path)
    tokenizer = tracer.model.tokenizer
    others = [
        needle_example(tokenizer, n_tokens, depth, seed + 1000 + i, needle=needle)
        for i, depth in enumerate((0.25, 0.75))
    ]
    return static_heads(tracer.trace_many(others), k=None)


def _strategy(name: str, bridge: Any, ranking: "HeadSet", k: int) -> Any:
    from retrieval_lens import heads

    if name == "none":
        return None
    if name == "static":
        return ranking.top(k)
    if name == "random":
        return heads.random_heads(bridge, k, seed=0)
    if name == "static_by_count":
        return heads.StaticByCount(ranking)
    if name == "dynamic_minus_static":
        return heads.DynamicMinus(ranking.top(k))
    strategies = {
        "dynamic": heads.Dynamic,
        "time_shifted": heads.TimeShifted,
        "layer_matched": heads.LayerMatched,
    }
    return strategies[name]()


def _print(console: Any, evidence: str, runs: dict[str, Any], effects: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    from retrieval_lens.cli.tables import printable

    table = Table(title="One needle, heads masked", title_justify="left")
    for name in ("condition", "heads", "exact", "chars", "outcome", "heads there", "Δ log p"):
        right = name not in ("condition", "outcome")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    retrieval = effects[effects.is_retrieval].groupby("condition")[["n_heads", "delta_log_prob"]]
    single = retrieval.mean().to_dict("index")
    for name, run in runs.items():
        table.add_row(
            name,
            f"{float(run.n_masked.float().mean()):.1f}",
            f"{run.metrics['exact']:.0f}",
            f"{run.metrics['answer_chars']:.2f}",
            run.outcome,
            f"{single[name]['n_heads']:.1f}" if name in single else "",
            f"{single[name]['delta_log_prob']:.2f}" if name in single else "",
        )
    console.print(table)
    for name, run in runs.items():
        text = printable(run.text).replace("\n", " ")[:60]
        console.print(f"{name}: {escape(text)}")
    console.print(f"needle: {escape(evidence)}")
    console.print(
        "Left, free running: heads masked at a step of the condition's own response (mean), and "
        "what became of it. Right, single steps: heads masked at a retrieval step of the clean "
        "response (mean), and the change of the clean token's log probability there (nats)."
    )
