"""The calls that collect a corpus again, from what its manifest and its traces recorded."""

from typing import Any

from retrieval_lens.report.corpus_folder import CorpusFolder, example_of

NEEDLE = """\
names = ("n_tokens", "depth", "seed", "haystack", "needle")
examples = [
    rl.needle_example(model.tokenizer, **{{name: one[name] for name in names}}) for one in recorded
]"""
QUESTIONS = """\
names = ("n_paragraphs", "order", "max_tokens", "seed")
layouts = {{tuple((name, one[name]) for name in names) for one in recorded}}
ids = {{one["id"] for one in recorded}}
load = rl.tasks.hotpotqa.load
every = [
    load({source}, model.tokenizer, reader={reader}, **dict(layout))
    for layout in sorted(layouts, key=str)
]
examples = [one for layout in every for one in layout if one.id in ids]"""
CODE = """\
import retrieval_lens as rl

model = rl.load_model({name!r}, dtype={dtype!r}, revision={revision!r})
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
    model, path = configuration["model"], opened.corpus.path.resolve()
    kept = ("hidden_dtype", "max_new_tokens", "n_top")
    return CODE.format(
        name=model["name"],
        dtype=model["dtype"],
        revision=model.get("revision"),
        path=str(path),
        again=f"{path}_again",
        examples=_examples(example_of(opened.traces[0])),
        scores=", ".join(map(_score, configuration["scores"].values())),
        hidden_at=tuple(configuration["hidden_at"]),
        **{name: configuration[name] for name in kept},
    )


def _examples(first: dict[str, Any]) -> str:
    """How the examples are made; those of a task of one's own are left to the reader."""
    task, dataset = first.get("task"), first.get("dataset")
    if task == "needle":
        return NEEDLE.format()
    if task == "multihop":
        is_own = dataset == OWN
        reader = "hotpotqa" if is_own else dataset
        return QUESTIONS.format(source=repr(OWN if is_own else "THE_FILE"), reader=repr(reader))
    return "examples = ...  # those of these ids: [one['id'] for one in recorded]"


def _score(record: dict[str, Any]) -> str:
    """A score as it is written in Python."""
    given = {n: v for n, v in record.items() if n not in ("class", "observes")}
    return f"rl.{record['class']}({', '.join(f'{n}={v!r}' for n, v in given.items())})"
