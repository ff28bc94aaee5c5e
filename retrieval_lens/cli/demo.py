"""`retrieval-lens demo`: trace one needle, print the heads of every step, write a page."""

from pathlib import Path
from typing import Any

from retrieval_lens.cli import options


def demo(
    out: options.Folder = Path("demo"),
    model: options.Model = "smollm2-135m",
    n_tokens: options.Tokens = 200,
    depth: options.Depth = 0.5,
    seed: options.Seed = 0,
    max_new_tokens: options.MaxNewTokens = 64,
    device: options.Device = None,
) -> None:
    """Trace a needle prompt and write a page with pictures that reads offline."""
    from rich.console import Console
    from rich.markup import escape

    from retrieval_lens.cli.tables import printable, step_table, strongest_heads, summary
    from retrieval_lens.models import load_model
    from retrieval_lens.scores import CopyPaste, Reasoning
    from retrieval_lens.tasks import needle_example
    from retrieval_lens.tracing import RetrievalTracer

    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    bridge = load_model(model, device=device)
    example = needle_example(bridge.tokenizer, n_tokens, depth, seed)
    scores = [CopyPaste(), CopyPaste(match="position"), Reasoning()]
    trace = RetrievalTracer(bridge, scores).trace(example, max_new_tokens)
    trace.save(out / "trace.safetensors")
    page = out / "index.html"
    page.write_text(_page(trace, example), "utf-8")
    console.print(step_table(trace))
    console.print(f"needle:   {escape(example.evidence_text)}")
    console.print(f"response: {escape(printable(trace.text))}")
    console.print(summary(trace))
    names = " ".join(
        f"{head} {score:.2f}" for head, score in strongest_heads([trace], "copy_paste", 10)
    )
    console.print(f"strongest copy-paste heads (mean over steps): {names}")
    console.print(f"trace: {escape(str((out / 'trace.safetensors').resolve()))}")
    console.print(f"page:  {escape(str(page.resolve()))}", soft_wrap=True)


def _page(trace: Any, example: Any) -> str:
    from retrieval_lens import viz

    step = int(trace.active("copy_paste").sum((1, 2)).argmax())
    token = trace.str_tokens[step]
    model = trace.provenance["model"]
    parts = [
        (
            "Which heads retrieve, token by token",
            "The ten heads whose copy-paste score varies most. Dark: at this step the head's most "
            "attended token lies in the needle and is the token that the model writes (Eq. 1).",
            viz.timeline(trace, "copy_paste"),
        ),
        (
            "How much of their attention is on the needle",
            "The share of each head's attention, sink and local window left out, that falls on the "
            "needle (Eq. 2).",
            viz.timeline(trace, "reasoning"),
        ),
        ("Where these heads are", "Mean copy-paste score over all steps.", viz.head_map(trace)),
        (
            f"Where they look at step {step}",
            f"The step with the most active heads; it writes {token!r}.",
            viz.attention(trace, step),
        ),
    ]
    subtitle = (
        f"{model['name']}, {len(trace.token_ids)} prompt tokens. Needle: {example.evidence_text} "
        f"Response: {trace.text}"
    )
    return viz.page("Retrieval heads at work", parts, subtitle=subtitle)
