"""The report of a corpus of traces."""

from collections import Counter
from typing import Any

import pandas as pd

from retrieval_lens import viz
from retrieval_lens.analysis import offset_cca, published_table
from retrieval_lens.analysis.drawing import unit_of
from retrieval_lens.errors import InputError
from retrieval_lens.folders import is_locked
from retrieval_lens.report.active_sets import dynamism_parts
from retrieval_lens.report.conventions import HEADING, TEXT, conventions_table
from retrieval_lens.report.corpus_code import collecting_code
from retrieval_lens.report.corpus_folder import CorpusFolder, example_of, ranked, sets_of
from retrieval_lens.report.model_record import model_facts, not_bit_for_bit, versions_facts
from retrieval_lens.report.parts import (
    AGAIN,
    RUN,
    Code,
    Part,
    facts,
    paragraphs,
    sent,
    shown,
    with_interval,
)
from retrieval_lens.viz.summary import summarise

TITLE = "A corpus of traces"
CCA_SHOWN = ("in_sample", "held_out", "null_held_out", "baselines", "hidden_and_baselines", "gain")
MOST_RESPONSES = 10
UNNAMED = "task without a name"


def what_was_run(opened: CorpusFolder) -> list[Part]:
    """Model, weights, versions, and what was traced."""
    manifest = opened.corpus.manifest
    configuration = manifest["configuration"]
    label = {**opened.traces[0].provenance.get("model", {}), **configuration["model"]}
    examples = [example_of(one) for one in opened.traces]
    rows: dict[str, Any] = {"folder": opened.corpus.path.resolve().name}
    rows |= model_facts(label)
    rows["task"] = _tasks(opened)
    rows["responses"] = len(examples)
    if any("question_id" in one for one in examples):
        rows["questions"] = len({unit_of(one) for one in sets_of(opened, opened.scores[0])})
    rows["steps"] = f"{sum(one.n_steps for one in opened.traces):,}"
    rows["hidden states"] = (
        f"{', '.join(configuration['hidden_at'])}, stored as {configuration['hidden_dtype']}"
    )
    for name in ("haystack", "needle", "n_tokens", "depth", "order", "n_paragraphs", "dataset"):
        values = Counter(one[name] for one in examples if one.get(name) is not None)
        if 0 < len(values) <= 12:
            told = (f"{value} ({n})" for value, n in sorted(values.items(), key=str))
            rows[f"{name} (responses)"] = ", ".join(told)
    rows["started"] = manifest["started"]
    rows |= versions_facts(manifest["versions"])
    told = not_bit_for_bit([label], manifest["versions"])
    if is_locked(opened.corpus.path):
        told.append("Not finished: a process is collecting into this folder.")
    same = "Examples that ran in other batches differ by about 1e-6."
    return [(RUN, paragraphs(*told, same), facts(rows))]


def _tasks(opened: CorpusFolder) -> str:
    """The tasks that the examples name."""
    names = {example_of(one).get("task") or UNNAMED for one in opened.traces}
    return ", ".join(sorted(map(str, names)))


def corpus_conventions(opened: CorpusFolder) -> list[Part]:
    """The conventions that all traces recorded, and the parameters of every score."""
    found: dict[str, Any] = {}
    for trace in opened.traces:
        for name, value in trace.provenance.get("conventions", {}).items():
            values = found.setdefault(name, [])
            if value not in values:
                values.append(value)
    records = {name: one[0] if len(one) == 1 else one for name, one in found.items()}
    records |= {"scores": opened.corpus.manifest["configuration"]["scores"]}
    return [(HEADING, TEXT, conventions_table(records))]


def responses(opened: CorpusFolder) -> list[Part]:
    """How right the responses are, and the first of them."""
    rows = pd.DataFrame(
        {**example_of(one), "example_id": example_of(one).get("id"), **one.metrics}
        | {"truncated": float(one.truncated), "all": "all"}
        for one in opened.traces
    )
    table = {}
    for name in dict.fromkeys([*opened.traces[0].metrics, "truncated"]):
        if pd.api.types.is_numeric_dtype(rows[name]):
            one = summarise(rows.assign(**{name: rows[name].astype(float)}), ["all"], name).iloc[0]
            table[name] = with_interval(one["mean"], one["low"], one["high"])
    text = "Means over all responses with 95 % intervals over examples, or questions."
    first = opened.traces[:MOST_RESPONSES]
    written = pd.DataFrame(
        {
            "right": [shown(example_of(one).get("answer")) for one in first],
            "response": [shown(one.text) for one in first],
        },
        index=[str(example_of(one).get("id")) for one in first],
    )
    return [
        ("How right the responses are", text, facts(table)),
        ("What was written", f"The first {len(first)}.", written),
    ]


def dynamism(opened: CorpusFolder) -> list[Part]:
    """Claim 1, by each score."""
    parts: list[Part] = []
    model = opened.corpus.manifest["configuration"]["model"]["name"]
    for score in opened.scores:
        static, judged = ranked(opened, score)
        name = f", {score} score" if len(opened.scores) > 1 else ""
        here = f"{sent(model)}, {_tasks(opened)}, {score} score"
        parts += dynamism_parts(sets_of(opened, score), static, name, here, judged)
        if static is not None:
            text = (
                f"All heads by mean {score} score over {len(static.example_ids)} of the responses; "
                f"overlap with it is judged on the other {len(judged or ())}. {_strongest(static)}"
            )
            parts.append(
                (
                    f"The static ranking{name}",
                    text,
                    viz.head_map(static, title=f"Mean {score} score"),
                )
            )
    return parts


def _strongest(static: Any) -> str:
    """The first ten heads of a ranking that have a score at all."""
    above = sum(one > 0 for one in static.scores[:10])
    return f"The strongest: {static.top(above)}." if above else "No head has a score above 0."


def one_response(opened: CorpusFolder) -> list[Part]:
    """The response with the most retrieval steps, token by token."""
    parts: list[Part] = []
    for score in opened.scores:
        busy = [int(one.active(score).any((1, 2)).sum()) for one in opened.traces]
        trace = opened.corpus[busy.index(max(busy))]
        text = f"{example_of(trace).get('id')}: {shown(trace.text)}"
        parts.append((f"One response, {score} score", text, viz.timeline(trace, score)))
    return parts


def canonical(opened: CorpusFolder) -> list[Part]:
    """Figs 4 and 8: canonical correlations of the hidden state with the scores to come."""
    return [part for score in opened.scores for part in _canonical(opened, score)]


def _canonical(opened: CorpusFolder, score: str) -> list[Part]:
    heading = f"Hidden state and scores to come, {score} score"
    try:
        found: Any = offset_cca(opened.corpus, score, progress=False)
    except InputError as error:
        return [(heading, "There are no canonical correlations.", facts({"why": error}))]
    rows = found[(found["statistic"] == "top1") & (found["steps"] == "all")]
    rows = rows[rows["setting"].isin(CCA_SHOWN)]
    text = (
        "First canonical correlation, by offset k. `gain` is what the hidden state adds to scores, "
        "tokens and step on held-out examples: the number to look at. The paper's (arXiv "
        "2602.11162, Fig. 4, llama3.1-8b) are in-sample; model and setting differ."
    )
    figure = viz.curves(
        rows,
        x="offset",
        y="value",
        series="setting",
        low="low",
        high="high",
        title="Top-1 by offset",
    )
    return [
        (heading, text, _by_offset(rows, score)),
        (f"Canonical correlation by offset, {score} score", None, figure),
    ]


def _by_offset(rows: Any, score: str) -> Any:
    """A row a setting and a column an offset, the paper's below those of its score."""
    told = {
        setting: {
            f"k = {row['offset']}": with_interval(row["value"], row["low"], row["high"])
            for row in part.to_dict("records")
        }
        for setting, part in rows.groupby("setting", sort=False)
    }
    if score == "copy_paste":
        paper = published_table("figure4").to_dict("records")
        told["paper, in-sample"] = {
            f"k = {row['offset']}": f"{row['cca_top1']:.3f}" for row in paper
        }
    return pd.DataFrame.from_dict(told, orient="index").fillna("")


def make_again(opened: CorpusFolder) -> list[Part]:
    """The calls that collect the same examples."""
    text = (
        "The examples are recorded in the traces, one by one. Run the code where this folder lies. "
        "What has to be filled in stands in a comment."
    )
    return [(AGAIN, text, Code.of(collecting_code(opened)))]


SECTIONS = (what_was_run, dynamism, one_response, responses, corpus_conventions, make_again)
SLOW = (canonical,)
