"""The report of a grid of answers: strategies of Dynamic RAG on the same questions."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from retrieval_lens import viz
from retrieval_lens.analysis import published_table
from retrieval_lens.experiments import load_answers
from retrieval_lens.report import comparisons
from retrieval_lens.report.comparisons import RULE, contrasts, contrasts_table, told
from retrieval_lens.report.grid_folder import GridFolder
from retrieval_lens.report.grid_record import (
    grid_conventions,
    known_questions,
    make_again,
    questions,
    what_was_run,
)
from retrieval_lens.report.parts import Part, paragraphs, sent, shown
from retrieval_lens.report.questions import layouts

TITLE = "Answers of Dynamic RAG"
RECALLS, SHARES = ("first_recall", "evidence_recall"), ("first_share", "revealed_share")
FOUND = {
    "first_recall": "What the first retrieval found",
    "evidence_recall": "What the whole answer found",
}
TITLES = {
    "em": "EM",
    "f1": "F1",
    "first_recall": "Facts, first retrieval",
    "first_share": "context, first retrieval",
    "evidence_recall": "Facts shown",
    "revealed_share": "context shown",
    "n_retrievals": "retrievals",
    "n_rounds": "rounds",
    "n_steps": "tokens decoded",
    "seconds": "seconds",
    "prefill_seconds": "seconds to read the context",
}
TABLES: Mapping[str, tuple[str, ...]] = {
    "Every strategy": ("em", "f1", *RECALLS, *SHARES),
    "What every strategy costs": (
        *("n_retrievals", "n_rounds", "n_steps", "seconds"),
        "prefill_seconds",
    ),
}
WHAT = {
    "first_recall": ("facts found by the first retrieval", "The share of facts found at once"),
    "evidence_recall": ("facts found", "The share of facts found"),
    "f1": ("F1", "F1"),
    "em": ("exact match", "EM"),
}
OURS_TO_PAPER = {"no_context": "no_retrieval"}
PAPER = (
    "The paper (arXiv 2602.11162, {table}) printed these for HotpotQA and large instruction-tuned "
    "models. Model, questions and the choices that the paper leaves open differ here: compare "
    "the order of the strategies, not the digits. Each cell is EM / F1."
)
_PAPER_K = 5  # at which Table 4 agrees with Table 6


def verdicts(opened: GridFolder) -> list[Part]:
    """Every strategy against the first of dynamic, oracle_dynamic, or what comes first."""
    parts: list[Part] = []
    for model in opened.models:
        runs = comparisons.runs_of(opened.frame, model)
        baseline = _baseline(runs["series"].tolist())
        for measure, (what, label) in WHAT.items():
            found = contrasts(runs, measure, baseline)
            if found is not None:
                said = told(found, opened.unit, label, masked=False)
                text = paragraphs(*said, "" if parts else RULE)
                heading = opened.of(f"Verdict: {what}", model)
                parts.append((heading, text, contrasts_table(found)))
    return parts


def _baseline(series: Sequence[str]) -> str:
    names = ("dynamic", "oracle_dynamic")
    found = (one for name in names for one in series if one.split(" ")[0] == name)
    return next(found, series[0])


def means(opened: GridFolder) -> list[Part]:
    """Means of every strategy, and facts found against context shown."""
    text: str | None = (
        "Means over questions with 95 % intervals; layouts and random draws of a question are "
        "averaged first. A strategy that shows more finds more: compare strategies at equal shares "
        "of the context. Up to the first retrieval all of them are in the same place; behind it "
        "answers go their own ways. Seconds differ from run to run."
    )
    parts: list[Part] = []
    for model in opened.models:
        runs = comparisons.runs_of(opened.frame, model)
        for heading, measures in TABLES.items():
            table = comparisons.means_table(runs, {one: TITLES[one] for one in measures})
            parts.append((opened.of(heading, model), text, table))
            text = None
        drawn = comparisons.draws_table(runs, {one: TITLES[one] for one in ("em", "f1", *RECALLS)})
        if drawn is not None:
            spread = "Smallest and largest mean of a single draw."
            parts.append((opened.of("Single random draws", model), spread, drawn))
        for found, share in zip(RECALLS, SHARES, strict=True):
            if {found, share} <= set(runs.columns) and runs[found].notna().any():
                heading = opened.of(FOUND[found], model)
                parts.append((heading, None, viz.revealed(runs, found, share)))
    return parts


def pictures(opened: GridFolder) -> list[Part]:
    """Curves over k where there are several, heat maps where there are several layouts."""
    parts: list[Part] = []
    with_k = opened.valid[opened.valid["k"].notna()]
    if with_k["k"].nunique() > 1:
        parts += [
            (f"{TITLES[one]} against k", None, viz.curves(with_k, y=one, title=TITLES[one]))
            for one in ("evidence_recall", "f1")
        ]
    grid: Any = opened.grid
    if len(opened.valid) and len(grid.n_paragraphs) * len(grid.orders) * len(grid.max_tokens) > 1:
        parts += [
            (f"{TITLES[one]}{name}", None, viz.grid(frame, one, title=TITLES[one], **axes))
            for name, frame, axes in layouts(opened.frame)
            for one in ("evidence_recall", "f1")
        ]
    return parts


def beside_paper(opened: GridFolder) -> list[Part]:
    """Tables 4 and 6 of the paper, ours under them."""
    grid: Any = opened.grid
    ours = {model: _ours(opened, model) for model in opened.models}
    if not ours:
        return []
    k = _PAPER_K if _PAPER_K in grid.k else min(grid.k, default=None)
    paper = published_table("table4")
    rows = {model: _cells(part, "strategy") for model, part in paper.groupby("model", sort=False)}
    for model, table in ours.items():
        at_k = table[table["k"].isna() | (table["k"] == k)]
        rows[f"here: {sent(model)}, k = {k}"] = _cells(at_k, "strategy")
    columns = list(dict.fromkeys(paper["strategy"]))
    text = PAPER.format(table="Table 4")
    table4 = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns).fillna("")
    parts: list[Part] = [("Beside Table 4 of the paper", text, table4)]
    if len(grid.k) > 1:
        parts.append(_table6(ours))
    return parts


def _table6(ours: dict[str, Any]) -> Part:
    """Strategies by k."""
    paper = published_table("table6")
    rows = {}
    for name, table in {"llama3.1-8b (paper)": paper, **ours}.items():
        known = table[table["k"].notna() & table["strategy"].isin(set(paper["strategy"]))]
        for strategy, part in known.groupby("strategy", sort=False):
            rows[f"{sent(name)}: {strategy}"] = _cells(part, "k")
    columns = sorted({k for row in rows.values() for k in row})
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns).fillna("")
    table.columns = [f"k = {int(k)}" for k in columns]
    return "Beside Table 6 of the paper", PAPER.format(table="Table 6"), table


def _ours(opened: GridFolder, model: str) -> Any:
    """Means over the questions, by the paper's names of the strategies."""
    runs = comparisons.runs_of(opened.frame, model)
    runs = runs.assign(strategy=runs["condition"].replace(OURS_TO_PAPER))
    by = ["strategy", "k"]
    each = runs.groupby([*by, "unit"], dropna=False, sort=False)[["em", "f1"]].mean()
    return each.groupby(by, dropna=False, sort=False).mean().reset_index()


def _cells(table: Any, name: str) -> dict[Any, str]:
    texts = (f"{em:.3f} / {f1:.3f}" for em, f1 in zip(table["em"], table["f1"], strict=True))
    return dict(zip(table[name], texts, strict=True))


def trails(opened: GridFolder) -> list[Part]:
    """One answer of the baseline, one of the oracle, and all answers to that question."""
    if not opened.models:
        return []
    every = load_answers(opened.path, partial=True)
    runs = comparisons.runs_of(every, opened.models[0])
    runs = runs.assign(asked=[one.metrics["n_retrievals"] for one in runs["answer"]])
    series = runs["series"].tolist()
    oracle = [one for one in series if one.startswith("oracle_dynamic")]
    parts: list[Part] = []
    for wanted in dict.fromkeys((_baseline(series), *oracle[:1])):
        rows = runs[(runs["series"] == wanted) & (runs["asked"] > 0)]
        rows = rows[["context" in one.provenance for one in rows["answer"]]]
        if len(rows):
            row = rows.loc[rows["asked"].idxmax()]
            text = f"{_question(opened, int(row['question']))} Answer: {shown(row['answer'].text)}"
            parts.append((f"The trail of one answer: {wanted}", text, viz.trail(row["answer"])))
    first = runs[runs["example_id"] == runs["example_id"].iloc[0]]
    table = pd.DataFrame(
        {"EM": [one.metrics["em"] for one in first["answer"]]}
        | {"answer": [shown(one.text) for one in first["answer"]]},
        index=first["series"].tolist(),
    )
    return [*parts, ("What was written", _question(opened, int(first["question"].iloc[0])), table)]


def _question(opened: GridFolder, number: int) -> str:
    """A question with its answer, or its number if the file is not at hand."""
    known = known_questions(opened, [number])
    if not known:
        return f"Question {number}."
    return f"Question {number}: {shown(known[0].question)} Right: {shown(known[0].answer)}."


SECTIONS = (
    what_was_run,
    verdicts,
    means,
    pictures,
    beside_paper,
    trails,
    questions,
    grid_conventions,
    make_again,
)
