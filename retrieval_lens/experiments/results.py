"""Read a grid's folder: one row a run, one row a step, the active heads, the static heads.

Everything is read from the cell files, each checked against its checksum.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from retrieval_lens.errors import InputError
from retrieval_lens.experiments.cells import DETECT, MATCHED, OWN, Cell, grid_cells, stage_variants
from retrieval_lens.experiments.conditions import Variant
from retrieval_lens.experiments.inputs import ranking
from retrieval_lens.experiments.store import RunFolder, open_folder
from retrieval_lens.heads import HeadSet

if TYPE_CHECKING:
    from pandas import DataFrame

    from retrieval_lens.analysis import StepSets

STEP_COLUMNS = ("step", "n_heads", "delta_log_prob", "kl", "is_retrieval")
METRICS = ("exact", "answer_chars", "rouge_l", "truncated")
COLUMNS = (
    *("model", "needle", "haystack", "n_tokens", "depth", "seed", "example_id"),
    *("condition", "k", "draw"),
    *("count", *METRICS, "outcome", "text", "n_steps", "n_masked_mean", "compensated_overlap"),
    *("count_effect", "effect_retrieval", "effect_other", "kl_retrieval", "kl_other"),
    *("n_retrieval_steps", "n_other_steps", "n_masked_mean_effect"),
)
_WHOLE = ("k", "draw", "count", "count_effect", "n_steps", "compensated_overlap")


def load_results(folder: str | Path, partial: bool = False) -> "DataFrame":
    """One row a run: a prompt under one variant of a condition.

    Args:
        folder: Where the grid was run.
        partial: Take the finished cells of an unfinished grid.

    Returns:
        `model, needle, haystack, n_tokens, depth, seed, example_id`, the prompt;
        `condition, k, draw`, what was masked;
        `count, exact, answer_chars, rouge_l, truncated, outcome, text, n_steps, n_masked_mean,
        compensated_overlap`, the free-running response: heads that a matched condition was given,
        metrics, mean of heads that were masked, and m_s with the static set (missing where no
        clean pass was scored);
        `count_effect, effect_retrieval, effect_other, kl_retrieval, kl_other, n_retrieval_steps,
        n_other_steps, n_masked_mean_effect`, the single-step effect: means in nats over the
        retrieval steps and over the others.

    Raises:
        InputError: No grid there, or an unfinished one without `partial`.
        FileFormatError: A damaged cell, or cells of different weights.
    """
    return results_frame(open_folder(folder), partial)


def results_frame(folder: RunFolder, partial: bool = False) -> "DataFrame":
    """The table of `load_results`."""
    from pandas import DataFrame

    static: set[tuple[int, int]] = set()
    if folder.grid.detection_seeds:
        ranked = _static(folder, partial).top(folder.grid.static_k)
        static = {(head.layer, head.head) for head in ranked}
    rows = [
        _where(cell, result)
        | _what(variant)
        | _response(result, variant, static)
        | _effect(result, variant)
        for cell, result, variant in _runs(folder, partial)
    ]
    frame = DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(_WHOLE, "Int64"))


def results_parquet(frame: "DataFrame") -> bytes:
    """The table as a Parquet file; the same table gives the same bytes."""
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def load_step_effects(folder: str | Path, partial: bool = False) -> "DataFrame":
    """One row a step: single-step effects of every run.

    Returns:
        The prompt and condition columns of `load_results`, then `step, n_heads, delta_log_prob,
        kl` (nats) and `is_retrieval`.

    Raises:
        InputError: As in `load_results`, or step effects were not measured.
        FileFormatError: As in `load_results`.
    """
    from pandas import DataFrame, concat

    opened = open_folder(folder)
    if "step_effect" not in opened.grid.measures:
        raise InputError(f"{folder} has no step effects: its grid measured {opened.grid.measures}")
    whole = dict.fromkeys(("k", "draw", "count"), "Int64")
    parts = []
    for cell, result, variant in _runs(opened, partial):
        effects = {name: result["effects"][variant.label][name] for name in STEP_COLUMNS}
        masked = {**_what(variant), "count": (result["count"] or {}).get("step_effect")}
        parts.append(DataFrame({**_where(cell, result), **masked, **effects}))
    return concat([part.astype(whole) for part in parts], ignore_index=True)


def load_active(folder: str | Path, partial: bool = False) -> "list[StepSets]":
    """D_t of every clean response, as `analysis.dynamism` and `analysis.test_retest` take them.

    Raises:
        InputError: As in `load_results`.
        FileFormatError: As in `load_results`.
    """
    from retrieval_lens.analysis import StepSets

    opened = open_folder(folder)
    found = []
    for cell, result in _results(opened, OWN, partial):
        steps = result["clean"]["active"]
        n_layers, n_heads = result["shape"]
        active = torch.zeros(len(steps), n_layers * n_heads, dtype=torch.bool)
        for t, heads in enumerate(steps):
            active[t, heads] = True
        where = cell.as_json()
        meta = {name: where[name] for name in ("needle", "haystack", "n_tokens", "depth", "seed")}
        meta |= {"model": result["model"]["name"], "score": opened.grid.score}
        active = active.unflatten(1, (n_layers, n_heads))
        tokens = torch.tensor(result["clean"]["tokens"])
        found.append(StepSets(active, result["example_id"], meta, tokens=tokens))
    return found


def load_static(folder: str | Path, k: int | None = None) -> HeadSet:
    """The static heads of the grid's detection corpus.

    Args:
        folder: Where the grid was run; the detection stage must be done.
        k: How many; None takes the grid's `static_k`.

    Raises:
        InputError: No grid there, or without a corpus, or the corpus is not done.
        FileFormatError: A damaged cell.
    """
    opened = open_folder(folder)
    if not opened.grid.detection_seeds:
        raise InputError(f"{folder} has no detection corpus: detection_seeds is empty")
    return _static(opened, partial=False).top(opened.grid.static_k if k is None else k)


def _static(folder: RunFolder, partial: bool) -> HeadSet:
    """The ranking of all heads; empty while an unfinished detection may not rank."""
    cells = grid_cells(folder.grid)[DETECT]
    found = [result for _, result in _results(folder, DETECT, partial)]
    return ranking(folder.grid, found) if len(found) == len(cells) else HeadSet()


def _results(folder: RunFolder, stage: str, partial: bool) -> Iterator[tuple[Cell, Any]]:
    """The finished cells of a stage with their results."""
    cells = grid_cells(folder.grid)[stage]
    for cell in cells:
        try:
            result = folder.read(cell)
        except FileNotFoundError:
            if partial:
                continue
            n_done = sum(folder.cell_path(one).exists() for one in cells)
            raise InputError(
                f"the grid in {folder.path} is not finished: {n_done} of {len(cells)} cells of "
                f"stage {stage!r} are done; run it again, or pass partial=True"
            ) from None
        yield cell, result


def _runs(folder: RunFolder, partial: bool) -> Iterator[tuple[Cell, Any, Variant]]:
    """Every run, prompts in order, the variants of each in the order of the grid's conditions."""
    own = dict(_results(folder, OWN, partial))
    matched = {cell.group + (cell.seed,): r for cell, r in _results(folder, MATCHED, partial)}
    for cell, result in own.items():
        of_stage = {OWN: result, MATCHED: matched.get(cell.group + (cell.seed,))}
        stages = {v: s for s in of_stage for v in stage_variants(folder.grid, s)}
        for variant in folder.grid.variants:
            found = of_stage[stages[variant]]
            if found is not None:
                yield cell, found, variant


def _where(cell: Cell, result: Any) -> dict[str, Any]:
    prompt = cell.as_json()
    del prompt["stage"]
    return {"model": result["model"]["name"], **prompt, "example_id": result["example_id"]}


def _what(variant: Variant) -> dict[str, Any]:
    return {"condition": variant.condition, "k": variant.k, "draw": variant.draw}


def _response(result: Any, variant: Variant, static: set[Any]) -> dict[str, Any]:
    run = result.get("runs", {}).get(variant.label)
    if run is None:
        return {}
    sizes = [len(step) for step in run["masked"]]
    overlap = None
    if run["compensated"] is not None and static:
        n_heads = result["shape"][1]
        steps = [[divmod(i, n_heads) for i in step] for step in run["compensated"]]
        overlap = max((len(static.intersection(step)) for step in steps), default=0)
    return {
        "count": (result["count"] or {}).get("generate"),
        **{name: run["metrics"].get(name) for name in METRICS},
        "outcome": run["outcome"],
        "text": run["text"],
        "n_steps": len(sizes),
        "n_masked_mean": sum(sizes) / len(sizes),
        "compensated_overlap": overlap,
    }


def _effect(result: Any, variant: Variant) -> dict[str, Any]:
    effects = result.get("effects", {}).get(variant.label)
    if effects is None:
        return {}
    found: dict[str, Any] = {"count_effect": (result["count"] or {}).get("step_effect")}
    for name, wanted in (("retrieval", True), ("other", False)):
        steps = [t for t, is_one in enumerate(effects["is_retrieval"]) if is_one is wanted]
        for short, column in (("effect", "delta_log_prob"), ("kl", "kl")):
            values = [effects[column][t] for t in steps]
            found[f"{short}_{name}"] = sum(values) / len(values) if values else None
        found[f"n_{name}_steps"] = len(steps)
    found["n_masked_mean_effect"] = sum(effects["n_heads"]) / len(effects["n_heads"])
    return found
