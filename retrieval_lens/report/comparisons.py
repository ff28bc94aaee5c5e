"""Conditions beside each other: means with intervals, paired differences, and sentences of them.

1. Rows of one question (layouts) or example (random draws) are averaged first: it is the unit.
   Of prompts that are there twice, one counts.
2. Means have the intervals of the figures (`viz.summary`), differences those of
   `compare_conditions`, with Holm's correction over the conditions of one comparison.
3. A difference is claimed where the 95 % interval leaves out 0 and the corrected p is below 0.05;
   anything else is "no difference shown", which is not "no difference".
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from retrieval_lens.analysis import compare_conditions
from retrieval_lens.report.parts import counted, number, with_interval
from retrieval_lens.viz.summary import summarise

SERIES, UNIT, STRATUM = "series", "unit", "haystack"
EFFECTS = ("effect_retrieval", "effect_other")
MOST_SENTENCES = 8
NOTHING = "nothing"
SHOWN, NOT_SHOWN, NOT_TESTED = "a difference", "no difference shown", "not tested"
UNCLAIMED = {
    NOT_SHOWN: "No difference shown",
    NOT_TESTED: "Too few to be tested, differences of the means",
}
RULE = (
    "Every difference is the row's mean minus the baseline's. One is claimed where the 95 % "
    "interval leaves out 0 and the p value, corrected by Holm over the rows, is below 0.05. "
    "Otherwise none is shown, which does not say that there is none."
)


def runs_of(frame: Any, model: str) -> Any:
    """Valid runs of a model, with the name of the condition and its k, and the unit."""
    found = frame[(frame["model"] == model) & frame["valid"].astype(bool)]
    if "question_id" in found:
        unit = found["question_id"].fillna(found["example_id"])
    else:
        once = found.drop_duplicates("prompt")["example_id"]
        found = found[found["example_id"].isin(once)]
        unit = found["example_id"]
    names = [
        f"{name} k={int(k)}" if known else str(name)
        for name, k, known in zip(found["condition"], found["k"], found["k"].notna(), strict=True)
    ]
    return found.assign(**{SERIES: names, UNIT: unit})


def means_table(runs: Any, measures: Mapping[str, str]) -> Any:
    """Means with 95 % intervals over the units, one row a condition.

    Args:
        runs: Of `runs_of`.
        measures: Columns of the table, with their titles; those without a number are left out.
    """
    found = pd.DataFrame(index=pd.Index(dict.fromkeys(runs[SERIES])))
    for name, title in measures.items():
        if name not in runs or not runs[name].notna().any():
            continue
        means = summarise(runs.assign(**{name: runs[name].astype(float)}), [SERIES], name)
        ends = zip(means["mean"], means["low"], means["high"], strict=True)
        texts = dict(zip(means[SERIES], (with_interval(*one) for one in ends), strict=True))
        found[title] = [texts.get(series, "") for series in found.index]
    found["runs"] = [int((runs[SERIES] == one).sum()) for one in found.index]
    return found


def draws_table(runs: Any, measures: Mapping[str, str]) -> Any:
    """Smallest and largest mean of a single random draw, for conditions that draw."""
    drawn = runs[runs["draw"].notna()]
    names = [one for one in measures if one in drawn and drawn[one].notna().any()]
    if not names or drawn["draw"].nunique() < 2:
        return None
    drawn = drawn.assign(**{one: drawn[one].astype(float) for one in names})
    by = [SERIES, "draw"]
    units = drawn.groupby([*by, UNIT], as_index=False, sort=False)[names].mean()
    means = units.groupby(by, sort=False)[names].mean()
    ends = means.groupby(level=0, sort=False).agg(["min", "max"])
    found = {
        measures[one]: [
            f"{number(low)} to {number(high)}" for low, high in ends[one].itertuples(index=False)
        ]
        for one in names
    }
    n_draws = means.groupby(level=0, sort=False).size().to_numpy()
    return pd.DataFrame({"draws": n_draws, **found}, index=ends.index.tolist())


def contrasts(runs: Any, measure: str, baseline: str) -> Any:
    """`compare_conditions` of a measure; None where there is nothing to compare."""
    if measure not in runs:
        return None
    known = runs[runs[measure].notna()]
    by = [SERIES, UNIT, *([STRATUM] if STRATUM in known else [])]
    known = known.assign(**{measure: known[measure].astype(float)})
    means = known.groupby(by, as_index=False, sort=False)[measure].mean()
    if baseline not in set(means[SERIES]) or means[SERIES].nunique() < 2:
        return None
    return compare_conditions(means, measure, baseline=baseline, condition=SERIES, unit=UNIT)


def verdict(row: Mapping[str, Any]) -> str:
    """What is claimed of a contrast; one without an interval is of too few pairs to be tested."""
    if row["low"] != row["low"]:
        return NOT_TESTED
    is_shown = (row["low"] > 0 or row["high"] < 0) and row["p_holm"] < 0.05
    return SHOWN if is_shown else NOT_SHOWN


def contrasts_table(found: Any) -> Any:
    """The contrasts as texts, one row a condition."""
    rows = found.to_dict("records")
    table = {
        "mean": [number(row["value"]) for row in rows],
        f"mean of {rows[0]['baseline']}": [number(row["baseline_value"]) for row in rows],
        "difference (95 %)": [
            with_interval(row["difference"], row["low"], row["high"]) for row in rows
        ],
        "p (Holm)": [
            "" if row["p_holm"] != row["p_holm"] else f"{row['p_holm']:.2g}" for row in rows
        ],
        "test": [row["test"] for row in rows],
        "pairs": [row["n_pairs"] for row in rows],
        "verdict": [verdict(row) for row in rows],
    }
    return pd.DataFrame(table, index=[row["condition"] for row in rows])


def told(
    found: Any, unit: str, label: str, *, masked: bool = True, primary: str | None = None
) -> list[str]:
    """What the contrasts say: a sentence for the primary one and each difference, then the rest.

    Args:
        found: Of `contrasts`.
        unit: What the pairs are: prompt, or question.
        label: Name of the measure.
        masked: Whether the conditions mask heads; else they are strategies.
        primary: The condition whose contrast was fixed before looking.
    """
    rows = found.to_dict("records")
    first = [row for row in rows if row["condition"] == primary]
    others = [row for row in rows if row["condition"] != primary]
    apart = [row for row in others if verdict(row) == SHOWN]
    said = [
        f"Primary contrast, fixed before looking. {sentence(row, unit, label, masked)}"
        for row in first
    ]
    said += [sentence(row, unit, label, masked) for row in apart[:MOST_SENTENCES]]
    if len(apart) > MOST_SENTENCES:
        said.append(f"{len(apart) - MOST_SENTENCES} more differences are in the table.")
    for claim, start in UNCLAIMED.items():
        rest = [row for row in others if verdict(row) == claim]
        texts = "; ".join(
            f"{row['condition']} {with_interval(row['difference'], row['low'], row['high'])}"
            for row in rest
        )
        which = f": {texts}" if len(rest) <= MOST_SENTENCES else f" for {len(rest)} conditions"
        said += [f"{start} beside {rows[0]['baseline']}{which}."] if rest else []
    return said


def sentence(row: Mapping[str, Any], unit: str, label: str, masked: bool = True) -> str:
    """One contrast in words; the arguments are those of `told`.

    Examples:
        >>> row = {"condition": "static", "baseline": "dynamic", "measure": "effect_retrieval"}
        >>> row |= {"difference": 0.5, "low": 0.25, "high": 0.75, "p_holm": 0.01, "n_pairs": 20}
        >>> told = sentence(row, "question", "Δ log p")
        >>> told[:55]
        'Masking dynamic costs 0.500 nats more than masking stat'
        >>> told[55:]
        'ic (95 % interval 0.250 to 0.750, 20 questions): a difference.'
    """
    more = row["difference"] >= 0
    low, high = (row["low"], row["high"]) if more else (-row["high"], -row["low"])
    amount = number(abs(row["difference"]))
    first, second = (_named(row[one], masked) for one in ("baseline", "condition"))
    if row["measure"] in EFFECTS:
        costs_more = more
        if first == NOTHING:
            first, second, costs_more = second, first, not more
        than = "more than" if costs_more else "less than"
        said = f"Masking {first} costs {amount} nats {than} masking {second}"
    else:
        with_ = "with {} masked" if masked else "with {}"
        than = f"{with_.format(second)} than {with_.format(first)}"
        said = f"{label} is {amount} {'higher' if more else 'lower'} {than}"
    pairs = counted(int(row["n_pairs"]), unit)
    interval = f"95 % interval {number(low)} to {number(high)}, {pairs}"
    basis = interval if low == low else f"{pairs}, too few for an interval"
    return f"{said} ({basis}): {verdict(row)}."


def _named(series: str, masked: bool) -> str:
    return NOTHING if masked and (series == "none" or series.endswith(" k=0")) else series
