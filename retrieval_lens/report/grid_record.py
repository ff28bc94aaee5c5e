"""Sections that every grid has: what was run, on which prompts, and how to run it again."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from retrieval_lens.errors import RetrievalLensError
from retrieval_lens.experiments.questions import QuestionPrompts
from retrieval_lens.experiments.results import invalid_prompts, repeated_prompts
from retrieval_lens.report.conventions import HEADING, TEXT, conventions_table
from retrieval_lens.report.grid_folder import GridFolder
from retrieval_lens.report.model_record import model_facts, not_bit_for_bit, versions_facts
from retrieval_lens.report.parts import (
    AGAIN,
    RUN,
    Code,
    Part,
    counted,
    facts,
    paragraphs,
    sent,
    shown,
)

PROMPTS = "The questions"
MOST_PROMPTS = 20
_NOT_CONVENTIONS = {"models", "revision", "dtype", "device", "settings"}
_FEW_DRAWS = 5
_KINDS_OF_FILE = ("probe ", "static ")


def what_was_run(opened: GridFolder) -> list[Part]:
    """Models, weights, versions, how much is done, and what to be careful with."""
    rows: dict[str, Any] = {"folder": opened.path.resolve().name, "task": opened.grid.task}
    for model, result in opened.first.items():
        start = f"{sent(model)}: " if len(opened.first) > 1 else ""
        rows |= {
            start + name: value for name, value in model_facts(result.get("model", {})).items()
        }
    done = opened.status.done
    rows["finished cells"] = ", ".join(
        f"{done[stage]} of {n} ({stage})" for stage, n in opened.status.cells.items() if n
    )
    rows["runs"] = (
        f"{counted(len(opened.valid), 'run')} of {counted(opened.n_units(), opened.unit)}"
    )
    rows["started"] = opened.manifest["started"]
    rows |= versions_facts(opened.manifest["versions"])
    rows |= _digests(opened.manifest["sources"])
    return [(RUN, paragraphs(*_cautions(opened)), facts(rows))]


def _digests(sources: Mapping[str, str]) -> dict[str, str]:
    """Digests by file name, numbered where files of several folders share one."""
    rows: dict[str, str] = {}
    for source, digest in sources.items():
        kind = next((one for one in _KINDS_OF_FILE if source.startswith(one)), "")
        name = f"digest of {kind}{Path(source.removeprefix(kind)).name}"
        n_same = sum(one == name or one.startswith(f"{name} (") for one in rows)
        rows[f"{name} ({n_same + 1})" if n_same else name] = digest
    return rows


def _cautions(opened: GridFolder) -> list[str]:
    status, frame = opened.status, opened.frame
    labels = [one["model"] for one in opened.first.values() if one.get("model")]
    found = []
    if not status.finished:
        done, cells = sum(status.done.values()), sum(status.cells.values())
        state = "still running" if status.running else "stopped; the same command goes on with it"
        found.append(
            f"Not finished: {done} of {cells} cells are done ({state}). Every number below is of "
            f"the finished part alone, which need not be like the whole."
        )
    if len(frame):
        found += [f"{one}." for one in (invalid_prompts(frame), _repeated(opened)) if one]
    if 0 < frame["draw"].nunique() < _FEW_DRAWS:
        found.append("Fewer than five random draws: one draw of random heads proves little.")
    found += not_bit_for_bit(labels, opened.manifest["versions"])
    if status.smaller_batches:
        found.append(
            f"Not bit for bit: {counted(status.smaller_batches, 'cell')} ran in smaller batches, "
            f"because memory ran out."
        )
    return found or ["The same grid on the same machine gives the same numbers."]


def _repeated(opened: GridFolder) -> str:
    """Of needles; the layouts of a question are one unit in any case."""
    said = "" if opened.unit == "question" else repeated_prompts(opened.frame)
    return f"{said}. That is done here, but for the heat maps" if said else ""


def grid_conventions(opened: GridFolder) -> list[Part]:
    """The grid's own settings, and the parameters of its score as the cells recorded them."""
    grid: Any = opened.grid
    names = [field.name for field in fields(grid)]
    axes = {*grid.axes, *(f"{one}s" for one in grid.axes), "reader", "conditions", "strategies"}
    records = {
        name: value
        for name, value in grid.as_json().items()
        if name in names and name not in axes | _NOT_CONVENTIONS and "detection" not in name
    }
    if "detect" in grid.stages:
        records["detection prompts"] = opened.status.cells["detect"]
    scores = [result["score"] for result in opened.first.values() if result.get("score")]
    records |= {"parameters": scores[0]} if scores else {}
    records |= grid.as_json().get("settings") or {}
    return [(HEADING, TEXT, conventions_table(records))]


def questions(opened: GridFolder) -> list[Part]:
    """The questions and their answers, if their file is the one that was run."""
    grid = opened.grid
    if not isinstance(grid, QuestionPrompts):
        return []
    numbers = list(grid.questions)
    rows = known_questions(opened, numbers[:MOST_PROMPTS])
    if not rows:
        text = (
            f"{sent(grid.source)} is not here, or was changed since: the questions cannot be shown."
        )
        return [(PROMPTS, text, facts({"numbers": ", ".join(map(str, numbers))}))]
    columns = {
        "id": [one.id for one in rows],
        "question": [shown(one.question) for one in rows],
        "answer": [shown(one.answer) for one in rows],
    }
    of = f"The first {len(rows)} of {len(numbers)}" if len(rows) < len(numbers) else f"{len(rows)}"
    text = f"{of} questions of {sent(grid.source)}."
    return [(PROMPTS, text, pd.DataFrame(columns, index=numbers[: len(rows)]))]


def known_questions(opened: GridFolder, numbers: Sequence[int]) -> list[Any]:
    """These questions; none if their file is gone, or is not the one that was run."""
    grid: Any = opened.grid
    try:
        if QuestionPrompts.sources(grid)[grid.source] != opened.manifest["sources"][grid.source]:
            return []
    except (OSError, KeyError, RetrievalLensError):
        return []
    return [grid.question(number) for number in numbers]


def make_again(opened: GridFolder) -> list[Part]:
    """The command and its configuration."""
    again = shlex.quote(opened.path.resolve().name + "_again")
    content = opened.grid.as_json()
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in content.items())
    code = [
        "cat > grid.json <<'END'",
        f"{{\n{lines}\n}}",
        "END",
        f"retrieval-lens grid run --config grid.json --out {again}",
        f"retrieval-lens report {again}",
    ]
    text = (
        "Stopped at any moment, the same command goes on. The digests above tell whether the "
        "questions, haystacks and files are the same."
    )
    return [(AGAIN, text, Code.of("\n".join(code)))]
