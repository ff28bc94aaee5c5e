"""What a cell needs from cells of earlier stages: the static ranking, and matched counts."""

from collections.abc import Iterable, Sequence
from typing import Any

from retrieval_lens.errors import InputError, InvalidExampleError
from retrieval_lens.experiments.ablation_grid import DETECT, OWN, AblationGrid
from retrieval_lens.experiments.cells import Cell, grid_cells
from retrieval_lens.experiments.store import RunFolder
from retrieval_lens.files import digest
from retrieval_lens.heads import HeadSet


def ranking(grid: AblationGrid, results: Sequence[Any]) -> HeadSet:
    """All heads by mean score over all steps of the detection corpus, ties by layer and head.

    Args:
        grid: What is run.
        results: Of every cell of stage `detect`, in their order.

    Returns:
        What `static_heads(traces, k=None)` returns for the same traces; empty without a corpus.

    Raises:
        InvalidExampleError: There is a corpus, and every prompt of it is invalid.
    """
    if not results:
        return HeadSet()
    reasons = [result["invalid"] for result in results if "invalid" in result]
    results = [result for result in results if "invalid" not in result]
    if not results:
        raise InvalidExampleError(f"every prompt of the detection corpus is invalid: {reasons[0]}")
    n_steps = sum(result["n_steps"] for result in results)
    sums = [sum(column) for column in zip(*(result["sums"] for result in results), strict=True)]
    order = sorted(range(len(sums)), key=lambda i: (-sums[i], i))
    n_heads = results[0]["shape"][1]
    return HeadSet(
        [divmod(i, n_heads) for i in order],
        [sums[i] / n_steps for i in order],
        example_ids=[result["example_id"] for result in results],
        provenance={
            "detector": f"mean {grid.score} over steps",
            "k": len(order),
            "n_steps": n_steps,
            "score": results[0]["score"],
            "model": results[0]["model"],
        },
    )


def matched_count(results: Iterable[Any], measure: str) -> int:
    """round(mean |D_t|) over all steps, empty ones too, of the dynamic runs of one measure.

    For `generate` these are the steps of the ablated responses, for `step_effect` those of the
    clean ones.

    Examples:
        >>> matched_count([{"runs": {"dynamic": {"masked": [[3, 5], [], [1]]}}}], "generate")
        1
    """
    if measure == "generate":
        sizes = [len(step) for r in results for step in r["runs"]["dynamic"]["masked"]]
    else:
        sizes = [n for r in results for n in r["effects"]["dynamic"]["n_heads"]]
    return round(sum(sizes) / len(sizes))


def ablation_inputs(
    grid: AblationGrid, folder: RunFolder, stage: str, cells: Sequence[Cell]
) -> dict[Cell, dict[str, Any]]:
    """What each cell of a model's stage is given; every cell of the stages before it must be done.

    Raises:
        FileNotFoundError: A cell before it is not done.
        InputError: `static_k` or a `k` is larger than the model has heads.
    """
    if stage == DETECT or not cells:
        return {cell: {"ranking": None, "count": None} for cell in cells}
    model = cells[0].model
    before = grid_cells(grid, model)
    found = ranking(grid, [folder.read(cell) for cell in before[DETECT]])
    most = max((grid.static_k, *grid.k))
    if found and most > len(found):
        raise InputError(f"static_k or k is {most}, but {model} has {len(found)} heads")
    static = found.as_json()
    if stage == OWN:
        return {cell: {"ranking": static, "count": None} for cell in cells}
    counts = _counts(grid, folder, before[OWN])
    return {
        cell: {"ranking": static, "count": counts.get(cell.without(grid.replicate))}
        for cell in cells
    }


def fingerprint(inputs: dict[str, Any]) -> str:
    """Tells whether a cell was made from these inputs: order of the heads, and counts."""
    heads = (inputs.get("ranking") or {}).get("heads")
    return digest({"heads": heads, "count": inputs.get("count")})


def _counts(
    grid: AblationGrid, folder: RunFolder, cells: Sequence[Cell]
) -> dict[Any, dict[str, int]]:
    groups: dict[Any, list[Any]] = {}
    for cell in cells:
        result = folder.read(cell)
        if "invalid" in result:
            continue
        kept = {
            "runs": {"dynamic": result.get("runs", {}).get("dynamic")},
            "effects": {"dynamic": result.get("effects", {}).get("dynamic")},
        }
        groups.setdefault(cell.without(grid.replicate), []).append(kept)
    return {
        group: {measure: matched_count(found, measure) for measure in grid.measures}
        for group, found in groups.items()
    }
