"""Static heads: the top k by mean score over all steps of a detection corpus (Sec. 3.2)."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import torch

from retrieval_lens.errors import InputError
from retrieval_lens.heads.head_set import HeadSet
from retrieval_lens.scores import StepScore
from retrieval_lens.tracing import Trace


def static_heads(
    traces: Trace | Sequence[Trace],
    k: SupportsIndex | None = 20,
    score: str | StepScore = "copy_paste",
) -> HeadSet:
    """The `k` heads of largest mean score, every step of every trace counting alike.

    Ties go to the lower layer, then the lower head. The set keeps the traces' example ids and
    refuses to be judged on them.

    Args:
        traces: Traces of the detection corpus, of one model.
        k: How many heads; None ranks all of them.
        score: Name of a traced score, or a score that observes what was traced.

    Raises:
        InputError: No trace, different models, or `k` out of range.
        UnknownNameError: No such score in a trace.

    Examples:
        ```python
        static = rl.static_heads([trace], k=20)
        static.top(3), static.scores[:3]
        ```
    """
    traces = [traces] if isinstance(traces, Trace) else list(traces)
    if not traces:
        raise InputError("static heads need at least one trace")
    models = {(t.provenance.get("model") or {}).get("name") for t in traces}
    shapes = {tuple(next(iter(t.scores.values())).shape[1:]) for t in traces}
    if len(models) > 1 or len(shapes) > 1:
        raise InputError(f"the traces are of different models: {sorted(map(str, models))}")
    mean = torch.cat([trace.scored(score) for trace in traces]).double().mean(0)
    n_all = mean.numel()
    count = n_all if k is None else k.__index__()
    if not 1 <= count <= n_all:
        raise InputError(f"k must be in 1..{n_all}, the heads of the model; got {count}")
    ordered = mean.flatten().sort(descending=True, stable=True)
    n_heads = mean.shape[1]
    heads = [divmod(index, n_heads) for index in ordered.indices[:count].tolist()]
    return HeadSet(
        heads,
        ordered.values[:count].tolist(),
        example_ids=[trace.provenance["example"]["id"] for trace in traces],
        provenance={
            "detector": f"mean {score if isinstance(score, str) else score.name} over steps",
            "k": count,
            "n_steps": sum(trace.n_steps for trace in traces),
            "score": _parameters(traces[0], score),
            "model": traces[0].provenance.get("model"),
        },
    )


def _parameters(trace: Trace, score: str | StepScore) -> Any:
    if isinstance(score, StepScore):
        return score.parameters()
    return trace.provenance.get("scores", {}).get(score)
