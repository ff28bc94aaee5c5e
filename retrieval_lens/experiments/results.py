"""What came out of a grid: one row a run, one row a step."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_lens.errors import InputError
from retrieval_lens.experiments.ablation_grid import AblationGrid
from retrieval_lens.experiments.cells import Cell
from retrieval_lens.experiments.conditions import Variant
from retrieval_lens.experiments.reading import open_ablations, runs, static_ranking
from retrieval_lens.experiments.store import RunFolder, open_folder

if TYPE_CHECKING:
    from pandas import DataFrame

LEVELS = {"chance": "chance", "active_lift": "lift"}  # columns, and their names in a cell
STEP_COLUMNS = ("step", "n_heads", "delta_log_prob", "kl", "is_retrieval")
COLUMNS = (
    *("condition", "k", "draw"),
    *("count", "METRICS", "outcome", "text", "n_steps", "n_masked_mean", "compensated_overlap"),
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
        `model, needle, haystack, n_tokens, depth, seed, example_id, prompt`, the prompt (the last
        is a digest of its tokens; other tasks have other axes);
        `valid`, False where no valid prompt could be made, and `invalid`, why: nothing was run;
        `chance, active_lift`, of the clean response: mean chance level of the grid's score, and the
        mean of score over chance where a head is active, which is above the threshold's multiple of
        chance by definition (missing for scores without a chance level);
        `condition, k, draw`, what was masked;
        `count, exact, answer_chars, rouge_l, truncated, outcome, text, n_steps, n_masked_mean,
        compensated_overlap`, the free-running response: heads that a matched condition was given,
        metrics, mean of heads that were masked, and m_s with the static set (missing where no
        clean pass was scored);
        `count_effect, effect_retrieval, effect_other, kl_retrieval, kl_other, n_retrieval_steps,
        n_other_steps, n_masked_mean_effect`, the single-step effect: means in nats over the
        retrieval steps and over the others.

        Of a `RagGrid` one row an answer: the prompt; `condition` (the strategy), `k, draw`;
        `em, f1, evidence_recall, revealed_share, n_retrievals, n_rounds` as in `rag.Answer`;
        `n_steps`, the tokens that were decoded, those of rejected drafts too; `seconds` of this
        answer without the prefill that all strategies share; `stopped_by, text`. Times differ from
        run to run, so `seconds` stands here and in the cells, but not in `results.parquet`.

    Raises:
        InputError: No grid there, or an unfinished one without `partial`.
        FileFormatError: A damaged cell, or cells of different weights.
    """
    opened = open_folder(folder)
    return opened.grid.frame(opened, partial)


def ablation_frame(grid: AblationGrid, folder: RunFolder, partial: bool = False) -> "DataFrame":
    """The table of `load_results` for a grid of ablations."""
    from pandas import DataFrame

    static: dict[str, set[tuple[int, int]]] = {}
    for model in grid.models if grid.has_corpus else ():
        ranked = static_ranking(folder, grid, model, partial).top(grid.static_k)
        static[model] = {(head.layer, head.head) for head in ranked}
    rows = [
        where(cell, own)
        | {name: own.get("clean", {}).get(stored) for name, stored in LEVELS.items()}
        | what(variant)
        | _response(result, variant, static.get(cell.model, set()), grid.metrics)
        | _effect(result, variant)
        for cell, own, result, variant in runs(folder, grid, partial)
    ]
    frame = DataFrame(rows, columns=_columns(grid))
    whole = [name for name in (*_WHOLE, "max_tokens") if name in frame]
    return frame.astype({**dict.fromkeys(whole, "Int64"), **dict.fromkeys(LEVELS, float)})


def invalid_prompts(frame: "DataFrame") -> str:
    """How many prompts are invalid; "" where none is."""
    places = list(frame.columns[: frame.columns.get_loc("example_id")])
    valid = frame.drop_duplicates(places)["valid"].tolist()
    if all(valid):
        return ""
    return (
        f"{valid.count(False)} of {len(valid)} prompts are invalid and were not run; the columns "
        f"`valid` and `invalid` tell which and why"
    )


def repeated_prompts(frame: "DataFrame") -> str:
    """What to know of prompts that are there under two names; "" where there are none."""
    prompts = frame.loc[frame["valid"]].drop_duplicates(["model", "example_id"])
    n_same = int(prompts.duplicated(["model", "prompt"]).sum())
    if not n_same:
        return ""
    return (
        f"{n_same} of {len(prompts)} prompts are the same as another one (two depths may fall "
        f"between the same sentences): where examples are the unit, keep one of each `prompt`"
    )


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

    opened, grid = open_ablations(folder)
    if "step_effect" not in grid.measures:
        raise InputError(f"{folder} has no step effects: its grid measured {grid.measures}")
    whole = dict.fromkeys(("k", "draw", "count"), "Int64")
    parts = []
    for cell, own, result, variant in runs(opened, grid, partial):
        if "invalid" in own:
            continue
        effects = {name: result["effects"][variant.label][name] for name in STEP_COLUMNS}
        masked = {**what(variant), "count": (result["count"] or {}).get("step_effect")}
        parts.append(DataFrame({**where(cell, own), **masked, **effects}))
    return concat([part.astype(whole) for part in parts], ignore_index=True)


def _columns(grid: AblationGrid) -> list[str]:
    start = [
        "model",
        *grid.axes,
        "example_id",
        "prompt",
        "valid",
        "invalid",
        *grid.details,
        *LEVELS,
    ]
    i = COLUMNS.index("METRICS")
    return [*start, *COLUMNS[:i], *grid.metrics, *COLUMNS[i + 1 :]]


def where(cell: Cell, result: Any) -> dict[str, Any]:
    """A prompt's place, names and details, as columns."""
    named = {name: result.get(name) for name in ("example_id", "prompt")}
    valid = {"valid": "invalid" not in result, "invalid": result.get("invalid")}
    return {**cell.where, **named, **valid, **result.get("details", {})}


def what(variant: Variant) -> dict[str, Any]:
    """Condition, k and draw, as columns."""
    return {"condition": variant.condition, "k": variant.k, "draw": variant.draw}


def _response(
    result: Any, variant: Variant, static: set[Any], metrics: Sequence[str]
) -> dict[str, Any]:
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
        **{name: run["metrics"].get(name) for name in metrics},
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
