"""A corpus as a Hugging Face dataset, to be filtered, streamed and shared on a hub.

One row a step: `example_id`, `step`, `input_token` (x_n), `token` (y_n); `hidden` at each hook, a
row of d_model numbers; every score, `[layer, head]`; and which heads are active by it. The library
writes Arrow files, which are mapped into memory, not read into it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_lens.errors import InputError
from retrieval_lens.files import digest

if TYPE_CHECKING:
    from datasets import Dataset

    from retrieval_lens.corpora.corpus import Corpus
    from retrieval_lens.tracing import Trace

CACHE = "dataset"


def as_dataset(corpus: "Corpus", cache_dir: str | Path | None = None) -> "Dataset":
    """The corpus as a dataset; see the module.

    Args:
        corpus: Which.
        cache_dir: Where the library keeps its copy; a folder in the corpus by default.

    Raises:
        FileFormatError: A damaged trace.
        InputError: The corpus is empty.
    """
    from datasets import Array2D, Dataset, DatasetInfo, Features, List, Value
    from datasets.exceptions import DatasetGenerationError

    if not len(corpus):
        raise InputError(f"the corpus in {corpus.path} is empty; collect examples first")
    first = corpus[0]
    half = corpus.manifest["configuration"]["hidden_dtype"] == "float16"
    features: dict[str, Any] = {"example_id": Value("string"), "step": Value("int32")}
    features |= {"input_token": Value("int64"), "token": Value("int64")}
    for hook, hidden in first.hiddens.items():
        stored = Value("float16" if half else "float32")
        features[f"hidden:{hook}"] = List(stored, length=hidden.shape[1])
    for name, score in first.scores.items():
        features[name] = Array2D(tuple(score.shape[1:]), "float32")
        features[f"{name}:active"] = Array2D(tuple(score.shape[1:]), "bool")
    files = [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in corpus.files]
    described = Features(features)
    try:
        return Dataset.from_generator(
            _rows,
            features=described,
            cache_dir=str(cache_dir or corpus.path / CACHE),
            gen_kwargs={"path": str(corpus.path)},
            fingerprint=digest([corpus.manifest, files]),
            info=DatasetInfo(description=json.dumps(corpus.manifest), features=described),
        )
    except DatasetGenerationError as error:
        raise error.__cause__ or error from error


def _rows(path: str) -> Iterator[dict[str, Any]]:
    from retrieval_lens.corpora.corpus import Corpus

    for trace in Corpus.open(path):
        active = {name: trace.active(name) for name in trace.scores}
        for step in range(trace.n_steps):
            yield _row(trace, active, step)


def _row(trace: "Trace", active: dict[str, Any], step: int) -> dict[str, Any]:
    row = {
        "example_id": trace.provenance["example"]["id"],
        "step": step,
        "input_token": int(trace.tokens[step - 1] if step else trace.token_ids[-1]),
        "token": int(trace.tokens[step]),
    }
    row |= {f"hidden:{hook}": hidden[step].numpy() for hook, hidden in trace.hiddens.items()}
    row |= {name: score[step].numpy() for name, score in trace.scores.items()}
    return row | {f"{name}:active": found[step].numpy() for name, found in active.items()}
