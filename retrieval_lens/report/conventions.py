"""The conventions that results were made with, read from the results' own records."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from retrieval_lens.report.parts import sent

HEADING = "Conventions"
TEXT = (
    "Read from the records in the folder. The papers leave these open; the page on conventions of "
    "the documentation says what each one is, and which are choices of this library."
)
MEANINGS = {
    "score": "by which heads are dynamic, and ranked",
    "mode": "what a masked head gives: zero, a mean, a uniform row, or no look at the evidence",
    "scope": "where a mask acts: the current query, or all positions",
    "keep_kv": "whose keys and values later steps see",
    "match": "how many heads the matched conditions mask",
    "static_k": "size of the static set S",
    "max_new_tokens": "most decode steps; a response that reaches it is truncated",
    "random_draws": "draws of each random condition",
    "k": "heads of the conditions that have one variant a k",
    "detection": "prompts that the static heads were ranked on, none of them judged here",
    "threshold": "of RIND: a content word above it asks for context",
    "seed": "of the layout, and of what is drawn",
    "batch_size": "rows that run together at most; null: all of a prompt",
    "measures": "the free-running response, and the effect of one step from the clean prefix",
    "include_eos": "whether the step that predicts the end counts",
    "n_top": "most attended positions that are kept",
    "calibrated_on": "examples that the threshold was chosen on",
    "remask": "when shown context is hidden again",
}
PARAMETERS = {
    "n_sink": "first tokens that the denominator leaves out",
    "n_local": "last tokens that it leaves out",
    "min_mass": "below this denominator the score is 0",
    "floor": "a head is active above this …",
    "times_chance": "… and above so many times the chance level",
    "n_positions": "most attended positions that are taken",
    "gap": "largest distance of positions in one cluster, tokens",
    "radius": "tokens shown on either side",
}


def conventions_table(records: Mapping[str, Any]) -> Any:
    """One row a convention: its value, and what it is where the name does not say.

    Nested records are spread, with dots between the names. Long lists are counted.

    Examples:
        >>> conventions_table({"mode": "zero", "rind": {"threshold": 1.0}})["value"].to_dict()
        {'mode': 'zero', 'rind.threshold': '1.0'}
    """
    flat = _flat(records)
    meanings = [MEANINGS.get(name) or PARAMETERS.get(name.split(".")[-1], "") for name in flat]
    return pd.DataFrame({"value": list(flat.values()), "what it is": meanings}, index=list(flat))


def _flat(records: Mapping[str, Any], start: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in records.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{start}{name}.")
        else:
            found[start + name] = _text(value)
    return found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return sent(value)
    if isinstance(value, list | tuple) and len(value) > 12:
        return f"{len(value)} of them: {_text(value[0])} … {_text(value[-1])}"
    return json.dumps(value, ensure_ascii=False, default=str)
