"""Every condition of an experiment against one of them, paired by example or question.

1. The rows of a condition are paired with the baseline's by question where there are questions, so
   that several layouts of one never count as several; else by example.
2. An outcome of 0 and 1 is tested by McNemar, a number by the paired bootstrap; the interval of the
   difference is the paired bootstrap's in both cases, stratified by haystack where there is one.
3. The p-values are corrected by Holm over the conditions.
"""

from math import isfinite, isnan, nan
from statistics import fmean
from typing import Any

import pandas as pd

from retrieval_lens.analysis.comparing import holm, mcnemar
from retrieval_lens.analysis.resampling import paired_bootstrap
from retrieval_lens.errors import InputError, NumericalError, UnknownNameError


def compare_conditions(
    frame: pd.DataFrame,
    measure: str,
    *,
    baseline: Any,
    condition: str = "condition",
    unit: str | None = None,
    strata: str | None = "auto",
    n_resamples: int = 2000,
    confidence: float | int = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every condition with a baseline on the same examples.

    Columns: `condition`, `baseline`, `measure`, `value` and `baseline_value` (means over the
    pairs), `difference`, `low`, `high`, `test` (`mcnemar` or `bootstrap`), `p`, `p_holm`,
    `n_pairs`, `n_unpaired` and `unpaired` (the examples that one of the two conditions lacks; they
    are left out). With one pair, or none, what cannot be computed is NaN and Holm's correction
    does not count it.

    Args:
        frame: One row for each unit and condition.
        measure: Column to compare: numbers, or 0/1.
        baseline: The condition to compare with.
        condition: Column of the conditions.
        unit: Column of what is paired and drawn. None: `question_id`, and `example_id` in rows
            without a question or a frame without questions.
        strata: Column of the strata; "auto": `haystack` if there is such a column; None: one
            stratum.
        n_resamples: How often pairs are drawn anew.
        confidence: Of the intervals.
        seed: Of the draws.

    Raises:
        UnknownNameError: No such column, or no row of the baseline.
        InputError: A unit twice in a condition, in two strata, or no other condition.
        NumericalError: A value is NaN or infinite.

    Examples:
        >>> frame = pd.DataFrame(
        ...     {"example_id": [*"abcabc"], "condition": ["none"] * 3 + ["dynamic"] * 3}
        ...     | {"exact": [1, 1, 1, 0, 0, 1]}
        ... )
        >>> found = compare_conditions(frame, "exact", baseline="none")
        >>> found["test"].tolist(), found["difference"].round(2).tolist(), found["p"].tolist()
        (['mcnemar'], [-0.67], [0.5])
    """
    if strata == "auto":
        strata = "haystack" if "haystack" in frame.columns else None
    columns = _columns(frame, [measure, condition, *([strata] if strata else [])])
    unit, units = _units(frame, unit)
    values = _by_condition(columns[measure], columns[condition], units, unit)
    if baseline not in values:
        known = ", ".join(map(repr, values))
        raise UnknownNameError(f"no condition {baseline!r} in the frame; it has: {known}")
    if len(values) < 2:
        raise InputError(f"{baseline!r} is the only condition; wanted another to compare with it")
    labels = _strata(units, columns[strata] if strata else [""] * len(frame))
    binary = all(value in (0, 1) for one in values.values() for value in one.values())
    settings = {"n_resamples": n_resamples, "confidence": confidence, "seed": seed}
    rows = [
        {"condition": name, "baseline": baseline, "measure": measure}
        | _compared(one, values[baseline], labels, binary, settings)
        for name, one in values.items()
        if name != baseline
    ]
    tested = [row for row in rows if not isnan(row["p"])]
    for row, p in zip(tested, holm([row["p"] for row in tested]) if tested else (), strict=True):
        row["p_holm"] = float(p)
    return pd.DataFrame(rows)


def _columns(frame: pd.DataFrame, names: list[str]) -> dict[str, list[Any]]:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise UnknownNameError(
            f"no column {missing[0]!r} in the frame; it has: {', '.join(map(str, frame.columns))}"
        )
    return {name: frame[name].tolist() for name in names}


def _units(frame: pd.DataFrame, unit: str | None) -> tuple[str, list[Any]]:
    """The column of the units, and the unit of each row."""
    if unit is not None:
        return unit, _columns(frame, [unit])[unit]
    questions = frame["question_id"].tolist() if "question_id" in frame.columns else []
    known = [bool(pd.notna(question)) for question in questions]
    if not any(known):
        return "example_id", _columns(frame, ["example_id"])["example_id"]
    if all(known):
        return "question_id", questions
    examples = _columns(frame, ["example_id"])["example_id"]
    both = zip(known, questions, examples, strict=True)
    return "question_id", [question if asked else example for asked, question, example in both]


def _by_condition(
    measured: list[Any], conditions: list[Any], units: list[Any], unit: str
) -> dict[Any, dict[Any, float]]:
    """The number of each unit under each condition."""
    values: dict[Any, dict[Any, float]] = {}
    for number, name, example in zip(measured, conditions, units, strict=True):
        own = values.setdefault(name, {})
        if example in own:
            raise InputError(
                f"{unit} {example!r} has several rows of condition {name!r}; average over its "
                f"layouts and draws first (groupby condition and {unit}), or compare each draw, "
                "each size and each model apart"
            )
        try:
            own[example] = float(number)
        except (TypeError, ValueError) as error:
            raise InputError(f"example {example!r}: {number!r} is no number") from error
        if not isfinite(own[example]):
            raise NumericalError(
                f"the value of example {example!r} under {name!r} is {number}; leave such rows "
                "out, and the example is counted as unpaired"
            )
    return values


def _strata(units: list[Any], strata: list[Any]) -> dict[Any, Any]:
    labels: dict[Any, Any] = {}
    for example, label in zip(units, strata, strict=True):
        if str(labels.setdefault(example, label)) != str(label):
            raise InputError(
                f"example {example!r} is in two strata: {labels[example]!r}, {label!r}"
            )
    return labels


def _compared(
    one: dict[Any, float],
    base: dict[Any, float],
    labels: dict[Any, Any],
    binary: bool,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """One condition against the baseline."""
    both = [example for example in base if example in one]
    alone = sorted(map(str, base.keys() ^ one.keys()))
    row: dict[str, Any] = dict.fromkeys(
        ("value", "baseline_value", "difference", "low", "high"), nan
    )
    row |= {"test": "mcnemar" if binary else "bootstrap", "p": nan, "p_holm": nan}
    if both:
        a, b = [one[example] for example in both], [base[example] for example in both]
        found = paired_bootstrap(a, b, [labels[example] for example in both], **settings)
        row |= {"value": fmean(a), "baseline_value": fmean(b), "difference": found.value}
        row |= {"low": found.low, "high": found.high}
        row["p"] = mcnemar(a, b).p if binary else found.p
    return row | {"n_pairs": len(both), "n_unpaired": len(alone), "unpaired": ", ".join(alone)}
