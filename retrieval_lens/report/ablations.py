"""Sections of a grid that ablates heads: verdicts, means, pictures, the active heads."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from retrieval_lens import viz
from retrieval_lens.errors import InputError
from retrieval_lens.experiments import load_active, load_static
from retrieval_lens.report import comparisons
from retrieval_lens.report.active_sets import dynamism_parts
from retrieval_lens.report.comparisons import RULE, contrasts, contrasts_table, told
from retrieval_lens.report.grid_folder import GridFolder
from retrieval_lens.report.parts import Part, paragraphs, sent, shown

PRIMARY = "static_by_count"
EFFECT = "effect_retrieval"
TITLES = {
    "n_masked_mean": "heads masked",
    "n_masked_mean_effect": "heads masked",
    "exact": "exact",
    "em": "EM",
    "answer_chars": "answer_chars",
    "rouge_l": "ROUGE-L",
    "f1": "F1",
    "truncated": "truncated",
    EFFECT: "Δ log p, retrieval steps (nats)",
    "effect_other": "Δ log p, other steps (nats)",
    "kl_retrieval": "KL, retrieval steps (nats)",
    "compensated_overlap": "m_s, static heads that came in",
}
TABLES: Mapping[str, tuple[str, ...]] = {
    "Responses under every condition": (
        *("n_masked_mean", "exact", "em", "answer_chars", "rouge_l", "f1", "truncated"),
        "compensated_overlap",
    ),
    "Single steps under every condition": (
        *("n_masked_mean_effect", EFFECT, "effect_other", "kl_retrieval"),
    ),
}
WHAT = {
    EFFECT: "Verdict: single-step effect",
    "exact": "Verdict: exact answers",
    "answer_chars": "Verdict: characters of the answer",
    "em": "Verdict: exact match",
    "f1": "Verdict: F1",
}
CUT_SHORT = (
    "Without a mask no response holds the answer, and all were cut at their token limit: raise "
    "max_new_tokens before you read anything into this."
)
WHAT_IT_IS = {
    EFFECT: "Change of the clean token's log-probability at retrieval steps, from the clean "
    "prefix, in nats: below 0 the mask does harm."
}
FIGURES = ("exact", "answer_chars", "em", "f1", EFFECT, "effect_other")


def verdicts(opened: GridFolder) -> list[Part]:
    """Every condition against one, the measures one after the other."""
    parts: list[Part] = []
    for model in opened.models:
        runs = comparisons.runs_of(opened.frame, model)
        baseline = _baseline(list(dict.fromkeys(runs["series"])))
        cut = CUT_SHORT if _cut_short(runs) else ""
        for measure, heading in WHAT.items():
            found = contrasts(runs, measure, baseline)
            if found is None:
                continue
            primary = PRIMARY if measure == EFFECT and baseline == "dynamic" else None
            said = told(found, opened.unit, TITLES[measure], primary=primary)
            text = paragraphs(WHAT_IT_IS.get(measure, cut), *said, "" if parts else RULE)
            parts.append((opened.of(heading, model), text, contrasts_table(found)))
    return parts


def _cut_short(runs: Any) -> bool:
    """Whether no unmasked response holds the answer, and all were cut at their limit."""
    clean = runs[runs["series"] == "none"]
    whole = clean[[one for one in ("exact", "em") if one in clean]]
    return bool(len(clean) and (clean["truncated"] == 1).all() and not whole.to_numpy(float).any())


def _baseline(series: Sequence[str]) -> str:
    """The step's own heads where they were masked, else nothing, else what comes first."""
    return next((one for one in ("dynamic", "none") if one in series), series[0])


def means(opened: GridFolder) -> list[Part]:
    """Means of every measure under every condition, and the spread of single random draws."""
    parts: list[Part] = []
    text: str | None = (
        f"Means over {opened.unit}s with 95 % intervals (Wilson's for shares of 0 and 1, else the "
        f"bootstrap); layouts and random draws of one are averaged first. Δ log p is of the clean "
        f"token, from the clean prefix."
    )
    for model in opened.models:
        runs = comparisons.runs_of(opened.frame, model)
        for heading, measures in TABLES.items():
            table = comparisons.means_table(runs, {one: TITLES[one] for one in measures})
            if len(table.columns) > 2:
                parts.append((opened.of(heading, model), text, table))
                text = None
        chosen = {one: TITLES[one] for one in (*FIGURES[:4], EFFECT)}
        drawn = comparisons.draws_table(runs, chosen)
        if drawn is not None:
            spread = "Smallest and largest mean of a single draw."
            parts.append((opened.of("Single random draws", model), spread, drawn))
    return parts


def pictures(frame: Any, axes: dict[str, Any], name: str = "") -> list[Part]:
    """A heat map for each measure that was taken.

    Args:
        frame: Rows of the grid.
        axes: Of `viz.grid`.
        name: What the headings add.
    """
    where = f"by {axes['x']} and {axes['y']}{name}"
    return [
        (
            f"{TITLES[measure]} {where}",
            None,
            viz.grid(frame, measure, title=TITLES[measure], colour_bar=TITLES[measure], **axes),
        )
        for measure in FIGURES
        if measure in frame and frame[measure].notna().any()
    ]


def against_k(opened: GridFolder) -> list[Part]:
    """Curves over k, for conditions that have one."""
    with_k = opened.valid[opened.valid["k"].notna()]
    first = "exact" if "exact" in with_k else "f1"
    parts: list[Part] = []
    for pair in ((first, "compensated_overlap"), (EFFECT, "effect_other")):
        measures = [one for one in pair if one in with_k and with_k[one].notna().any()]
        if measures:
            heading = f"{' and '.join(TITLES[one] for one in measures)} against k"
            parts.append((heading, None, viz.curves(with_k, y=measures, title=heading)))
    return parts


def active_heads(opened: GridFolder) -> list[Part]:
    """The clean responses: how dynamic their heads are, and the static ranking."""
    grid: Any = opened.grid
    parts: list[Part] = []
    for model in opened.models:
        sets = load_active(opened.path, partial=True, model=model)
        if not sets:
            continue
        n_heads = sets[0].shape[0] * sets[0].shape[1]
        static = _static(opened, model, n_heads)
        here = f"{sent(model)}, {grid.task}, {grid.score} score"
        name = f": {sent(model)}" if len(grid.models) > 1 else ""
        parts += dynamism_parts(sets, static, name, here)
        if static is not None:
            text = (
                f"All heads by mean {grid.score} score on the detection corpus; the first "
                f"{grid.static_k} are the static set S: {static.top(grid.static_k)}."
            )
            heading = opened.of("The static ranking", model)
            parts.append((heading, text, viz.head_map(static, title=f"Mean {grid.score} score")))
    return parts


def _static(opened: GridFolder, model: str, n_heads: int) -> Any:
    """All heads as ranked; None without a corpus, or while it is not done."""
    if not opened.status.done["detect"]:
        return None
    try:
        return load_static(opened.path, n_heads, model=model)
    except InputError:
        return None


def responses(opened: GridFolder) -> list[Part]:
    """What was written under each condition, for the first prompt."""
    valid = opened.valid
    if not len(valid) or not valid["text"].notna().any():
        return []
    first = valid[valid["text"].notna()].iloc[0]
    rows = valid[(valid["example_id"] == first["example_id"]) & (valid["model"] == first["model"])]
    rows = comparisons.runs_of(rows, first["model"])
    table = pd.DataFrame(
        {"outcome": rows["outcome"].tolist(), "response": [shown(one) for one in rows["text"]]},
        index=rows["series"].tolist(),
    )
    return [("What was written", f"The first prompt, {first['example_id']}.", table)]
