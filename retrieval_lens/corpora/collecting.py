"""Collect a corpus: trace what is not there yet, each finished trace a file.

1. Take the folder for this process alone; refuse another model or another configuration.
2. Skip examples whose trace is there and sound; set damaged files aside.
3. Trace the others in batches, examples of similar length together, and write each as it is done.

Killed at any moment, the same call goes on where it stopped.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from retrieval_lens.corpora.corpus import KIND, MANIFEST, TRACES, Corpus, file_name
from retrieval_lens.errors import FileFormatError, InputError, NumericalError, UnknownNameError
from retrieval_lens.folders import agree, locked, require_own, set_aside
from retrieval_lens.models import hook_names, model_info, weights_fingerprint
from retrieval_lens.progress import progress_bar
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing import RetrievalTracer, Trace
from retrieval_lens.tracing.limits import check_context

DTYPES = ("float32", "float16", "bfloat16")
_MODEL = ("name", "source", "revision", "weights_sha256", "architecture", "dtype")


def collect(
    model: Any,
    examples: Sequence[RetrievalExample],
    out: str | Path,
    *,
    scores: Sequence[Any] | None = None,
    hidden_at: Sequence[str] = (hook_names.FINAL_NORM_OUT,),
    hidden_dtype: str = "float32",
    max_new_tokens: int = 64,
    n_top: int = 1,
    batch_size: int = 8,
    allow_other_versions: bool = False,
    progress: bool = True,
) -> Corpus:
    """Trace examples into a folder, or go on with it.

    Args:
        model: A bridge.
        examples: What to trace; more can be added by a later call.
        out: Folder of the corpus; it belongs to one model and one configuration.
        scores: Step scores; copy-paste and reasoning by default.
        hidden_at: Hook names whose last-token state is kept at each step.
        hidden_dtype: What hidden states are stored in: `float32`, `float16` or `bfloat16`; the last
            two take half the space.
        max_new_tokens: At most so many decode steps.
        n_top: How many of the most attended positions are kept.
        batch_size: Examples at a time.
        allow_other_versions: Go on with traces that other package versions made.
        progress: Show a progress bar when it takes more than two seconds.

    Returns:
        The corpus, with what was there before.

    Raises:
        InputError: No example, an id twice, another prompt under a known id, `batch_size` below 1,
            or a folder that belongs to another process, model or configuration.
        UnknownNameError: Another `hidden_dtype`.
        ContextLengthError: An example does not fit; nothing is run before all are known to.
        NumericalError: NaN in the attention, or hidden states too large for `hidden_dtype`.
        OSError: A trace cannot be written (a full disk, say); what is finished stays.

    Examples:
        ```python
        corpus = rl.collect(model, [example], "a_corpus", max_new_tokens=4)
        frame = rl.analysis.dynamism(corpus)
        ```
    """
    if hidden_dtype not in DTYPES:
        raise UnknownNameError(f"no hidden_dtype {hidden_dtype!r}; known: {', '.join(DTYPES)}")
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size}")
    _check_examples(model, examples, max_new_tokens)
    tracer = RetrievalTracer(model, scores, hidden_at=hidden_at, n_top=n_top)
    wanted = _configuration(tracer, hidden_dtype, max_new_tokens)
    path = Path(out)
    require_own(path, MANIFEST, TRACES)
    (path / TRACES).mkdir(parents=True, exist_ok=True)
    with locked(path):
        agree(path, MANIFEST, KIND, {"configuration": wanted}, allow_other_versions)
        missing = [one for one in examples if not _is_there(path, one)]
        missing.sort(key=lambda one: len(one.token_ids))
        what = f"collecting ({len(examples) - len(missing)} of {len(examples)} were done)"
        with progress_bar(what, len(missing), progress) as advance:
            for start in range(0, len(missing), batch_size):
                part = missing[start : start + batch_size]
                traces = tracer.trace_many(part, batch_size, max_new_tokens, progress=False)
                for trace in traces:
                    _write(path, trace, hidden_dtype)
                advance(len(part))
    return Corpus.open(path)


def _check_examples(model: Any, examples: Sequence[RetrievalExample], max_new_tokens: int) -> None:
    if not len(examples):
        raise InputError("no example to collect; give at least one")
    ids: set[str] = set()
    for example in examples:
        if example.id in ids:
            raise InputError(f"example {example.id!r} is there twice; ids name the traces")
        ids.add(example.id)
        check_context(model, example, max_new_tokens)


def _configuration(
    tracer: RetrievalTracer, hidden_dtype: str, max_new_tokens: int
) -> dict[str, Any]:
    info = model_info(tracer.model)
    model = {name: info[name] for name in _MODEL}
    return {
        "model": model | {"weights": weights_fingerprint(tracer.model)},
        "scores": {score.name: score.parameters() for score in tracer.scores},
        "hidden_at": list(tracer.hidden_at),
        "hidden_dtype": hidden_dtype,
        "max_new_tokens": max_new_tokens,
        "n_top": tracer.n_top,
        "include_eos": tracer.include_eos,
    }


def _is_there(path: Path, example: RetrievalExample) -> bool:
    """Whether the example is traced; a damaged file is moved aside."""
    file = path / TRACES / file_name(example.id)
    try:
        trace = Trace.load(file)
    except FileNotFoundError:
        return False
    except FileFormatError:
        set_aside(file)
        return False
    same = trace.token_ids.equal(example.token_ids) and trace.evidence.equal(example.evidence)
    if not same:
        raise InputError(
            f"{path} has example {example.id!r} with another prompt; give the new one another id"
        )
    return True


def _write(path: Path, trace: Trace, hidden_dtype: str) -> None:
    hiddens = {name: h.to(getattr(torch, hidden_dtype)) for name, h in trace.hiddens.items()}
    file = path / TRACES / file_name(trace.provenance["example"]["id"])
    for name, hidden in hiddens.items():
        if not bool(hidden.isfinite().all()):
            raise NumericalError(
                f"hidden states at {name} are too large for {hidden_dtype}; use bfloat16 or float32"
            )
    replace(trace, hiddens=hiddens).save(file)
