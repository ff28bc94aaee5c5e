"""The calls that collect a corpus again, from what its manifest and its traces recorded.

What they did not record (a model that was passed in, a file, examples of a task of one's own) is
left to the reader, in a comment.
"""

from typing import Any

from retrieval_lens.report.corpus_folder import CorpusFolder, example_of
from retrieval_lens.report.parts import sent

NEEDLE = """\
names = ("n_tokens", "depth", "seed", "haystack", "needle")
examples = [
    rl.needle_example(model.tokenizer, **{{name: one[name] for name in names}}) for one in recorded
]"""
QUESTIONS = """\
{source}
names = ("n_paragraphs", "order", "max_tokens", "seed")
layouts = {{tuple((name, one[name]) for name in names) for one in recorded}}
ids = {{one["id"] for one in recorded}}
load = rl.tasks.hotpotqa.load
every = [
    load(source, model.tokenizer, reader={reader}, **dict(layout))
    for layout in sorted(layouts, key=str)
]
examples = [one for layout in every for one in layout if one.id in ids]"""
OWN_SOURCE = 'source = "own"'
FILE = "# Fill in the file of the questions:\n# source = ..."
OWN_TASK = """\
ids = [one["id"] for one in recorded]
# Fill in the examples of these ids; their task is none of this library's:
# examples = [...]"""
LOADED = "model = rl.load_model({name!r}, dtype={dtype!r}, revision={revision!r})"
FOLDER = """\
# Fill in where the folder {name!r} is:
# model = rl.load_model(..., dtype={dtype!r})"""
PASSED_IN = """\
# Fill in the model, a {architecture} in {dtype}:
# model = rl.load_model(hf_model=..., tokenizer=...)  # the model that was passed in"""
MODELS = {"folder": FOLDER, "hf_model": PASSED_IN, "user": PASSED_IN}
CODE = """\
import retrieval_lens as rl

{model}
recorded = [one.provenance["example"] for one in rl.Corpus.open({path!r})]
{examples}
rl.collect(
    model,
    examples,
    {again!r},
    scores=[{scores}],
    hidden_at={hidden_at!r},
    hidden_dtype={hidden_dtype!r},
    max_new_tokens={max_new_tokens!r},
    n_top={n_top!r},
)"""
OWN = "own"


def collecting_code(opened: CorpusFolder) -> str:
    """Python that collects the same examples into a folder beside this one."""
    configuration = opened.corpus.manifest["configuration"]
    folder = opened.corpus.path.resolve().name
    kept = ("hidden_dtype", "max_new_tokens", "n_top")
    return CODE.format(
        model=_model(configuration["model"]),
        path=folder,
        again=f"{folder}_again",
        examples=_examples(example_of(opened.traces[0])),
        scores=", ".join(map(_score, configuration["scores"].values())),
        hidden_at=tuple(configuration["hidden_at"]),
        **{name: configuration[name] for name in kept},
    )


def _model(label: dict[str, Any]) -> str:
    """How the model is loaded; one that only its owner has is left to the reader."""
    written = MODELS.get(label.get("source", ""), LOADED)
    return written.format(
        name=sent(label["name"]),
        dtype=label["dtype"],
        revision=label.get("revision"),
        architecture=label.get("architecture"),
    )


def _examples(first: dict[str, Any]) -> str:
    """How the examples are made; those of a task of one's own are left to the reader."""
    task, dataset = first.get("task"), first.get("dataset")
    if task == "needle":
        return NEEDLE.format()
    if task == "multihop":
        is_own = dataset == OWN
        reader = "hotpotqa" if is_own else dataset
        return QUESTIONS.format(source=OWN_SOURCE if is_own else FILE, reader=repr(reader))
    return OWN_TASK


def _score(record: dict[str, Any]) -> str:
    """A score as it is written in Python."""
    given = {n: v for n, v in record.items() if n not in ("class", "observes")}
    return f"rl.{record['class']}({', '.join(f'{n}={v!r}' for n, v in given.items())})"
