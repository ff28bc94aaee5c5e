"""Claim 1 of a set of responses: statistics of the active heads, figures, the paper's tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from retrieval_lens import viz
from retrieval_lens.analysis import beside_paper, dynamism, unique_heads_curve
from retrieval_lens.report.comparisons import NOT_SHOWN, SHOWN
from retrieval_lens.report.parts import Part, is_outside, paragraphs, with_interval
from retrieval_lens.viz.statistics_frame import Found, pooled_rows

READINGS: Mapping[str | None, str] = {
    "count": "empty steps counted",
    "skip": "empty steps left out",
    None: "value",
}
NULLS = {"shuffled": "null: steps shuffled", "bernoulli": "null: independent heads"}
FIXED = ("which differs from a fixed set", "no difference from a fixed set shown")
CHANCE = (
    " Independent heads differ from one too: whether there is more to it, the sentence on steps of "
    "independent heads says."
)
LEFT_OUT = ("entropy_raw", "exp_entropy", "precision", "total_heads")
PAPER = (
    "The paper (arXiv 2602.11162) printed figures of five instruction-tuned models on needles in a "
    "haystack, by the copy-paste score. Model and setting differ here ({here}): compare the "
    "pattern, not the digits. Empty steps are counted, as the printed numbers suggest."
)
OTHER_SCORE = (
    "The paper's rows are of the copy-paste score, and the row of this page is of the {score} "
    "score: the two do not choose the same heads."
)
PAPER_SCORE = "copy_paste"
HALF = "of the judged half"
OF_HALF = (
    "The row of this page is of the judged half alone: the responses that the static heads were "
    "not ranked on."
)


def dynamism_parts(
    sets: Sequence[Any], static: Any, name: str, here: str, judged: Sequence[Any] | None = None
) -> list[Part]:
    """Statistics with their verdicts, figures, and Tables 1 and 5 of the paper.

    Args:
        sets: `StepSets` of one model.
        static: All heads ranked on other examples, or None.
        name: What the headings add, such as a score.
        here: What was run, in a few words, beside the paper's rows.
        judged: The responses that the static heads may be judged on; all of them by default.
    """
    frame, beside = statistics(sets, static, judged)
    halved = beside is not frame
    found = pooled_rows(frame)
    text = _beside_text(here, sets[0].meta.get("score"), halved)
    compared = f"What compares with static heads is {HALF} alone." if halved else None
    parts: list[Part] = [
        (f"How dynamic the heads are{name}", paragraphs(*sentences(found, halved)), _table(frame)),
        (f"Similarity of steps{name}", compared, viz.dynamism(frame)),
    ]
    if static is not None:
        parts.append((f"Dynamic and static heads{name}", compared, viz.overlap(frame)))
    table1 = _indexed(beside_paper(beside, "table1", name="here"))
    parts += [
        (f"Heads ever active{name}", None, viz.unique_heads(unique_heads_curve(sets))),
        (f"Beside Table 1 of the paper{name}", text, table1),
    ]
    if static is not None:
        table5 = _indexed(beside_paper(beside, "table5", name="here"))
        parts.append((f"Beside Table 5 of the paper{name}", text, table5))
    return parts


def statistics(sets: Sequence[Any], static: Any, judged: Sequence[Any] | None) -> tuple[Any, Any]:
    """`dynamism` of all responses, and of those that stand beside the paper.

    The second is of the judged responses alone, as is what the first compares with static heads:
    a Jaccard and its ceiling are of the same steps.
    """
    if static is None:
        every = dynamism(sets)
        return every, every
    ks = None if len(static) >= 20 else (max(1, len(static) // 2),)
    half = dynamism(sets if judged is None else judged, static, ks=ks)
    if judged is None:
        return half, half
    both = [dynamism(sets), half[half["k"].notna()]]
    return pd.concat(both, ignore_index=True), half


def _beside_text(here: str, score: str | None, halved: bool) -> str:
    """What to know of the paper's rows and ours."""
    told = [PAPER.format(here=here)]
    if score not in (None, PAPER_SCORE):
        told.append(OTHER_SCORE.format(score=score))
    if halved:
        told.append(OF_HALF)
    return paragraphs(*told)


def sentences(found: Found, halved: bool = False) -> list[str]:
    """What the statistics say, with their intervals.

    Args:
        found: Of `pooled_rows`.
        halved: Whether static heads are compared on the judged half alone.
    """
    of = _reader(found)
    told = [
        f"A step has {of('mean_active', empty='count')} active heads on average; at "
        f"{of('empty_share')} of the steps none is active. "
        f"{found['unique_heads', None, None, None]['value']:.0f} of "
        f"{found['total_heads', None, None, None]['value']:.0f} heads were active at least once, "
        f"which grows with the number of steps."
    ]
    spread = found.get(("effective_heads", None, "skip", None))
    if spread:
        verdict = _verdict(spread, spread["low"] > 1, *FIXED)
        has_null = ("adjacent_jaccard_excess", None, "skip", "bernoulli") in found
        told.append(
            f"Over the steps that have any, {of('effective_heads', empty='skip')} times as many "
            f"heads take part as at one of them (effective heads; 1 would be a fixed set)"
            f"{verdict}.{CHANCE if has_null else ''}"
        )
    for null, what in (
        ("shuffled", "two steps of a response in any order"),
        ("bernoulli", "steps of independent heads with the same rates"),
    ):
        excess = found.get(("adjacent_jaccard_excess", None, "skip", null))
        if excess:
            verdict = _verdict(excess, excess["low"] > 0 or excess["high"] < 0, SHOWN, NOT_SHOWN)
            told.append(
                f"Neighbouring steps have a Jaccard of {of('adjacent_jaccard', empty='skip')}, "
                f"{what} {of('adjacent_jaccard', empty='skip', null=null)}: "
                f"{of('adjacent_jaccard_excess', empty='skip', null=null)} more{verdict}."
            )
    ks = sorted(k for name, k, _, _ in found if name == "coverage" and k is not None)
    half = f", {HALF}" if halved else ""
    told += [
        f"{of('coverage', k=k)} of the dynamic heads are in the static top {k}{half}." for k in ks
    ]
    return told


def _verdict(row: Mapping[str, Any], holds: bool, yes: str, no: str) -> str:
    """What the interval says; nothing where it leaves out its own value."""
    if is_outside(row["value"], row["low"], row["high"]):
        return ""
    return f", {yes if holds else no}"


def _reader(found: Found) -> Any:
    def of(
        name: str, k: int | None = None, empty: str | None = None, null: str | None = None
    ) -> str:
        row = found.get((name, k, empty, null))
        return "—" if row is None else with_interval(row["value"], row["low"], row["high"])

    return of


def _table(frame: Any) -> Any:
    """One row a statistic and null, one column a reading of empty steps."""
    rows: dict[str, dict[str, str]] = {}
    kept = frame[(frame["pooled"] == "steps") & ~frame["statistic"].isin(LEFT_OUT)]
    for row in kept.to_dict("records"):
        name = str(row["statistic"])
        name += "" if pd.isna(row["k"]) else f", top {row['k']}"
        name += "" if pd.isna(row["null"]) else f" ({NULLS[row['null']]})"
        reading = READINGS[None if pd.isna(row["empty"]) else row["empty"]]
        told = with_interval(row["value"], row["low"], row["high"])
        if row["statistic"] == "unique_heads":
            told = f"{row['value']:.0f}"
        rows.setdefault(name, {})[reading] = told
    columns = list(READINGS.values())
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).fillna("")


def _indexed(frame: Any) -> Any:
    """The published rows and ours, by model."""
    return frame.drop(columns="checkpoint", errors="ignore").set_index("model").rename_axis(None)
