"""The report of a grid of questions."""

from typing import Any

from retrieval_lens.report import ablations
from retrieval_lens.report.grid_folder import GridFolder
from retrieval_lens.report.grid_record import (
    grid_conventions,
    make_again,
    questions,
    what_was_run,
)
from retrieval_lens.report.parts import Part

TITLE = "Questions under ablation"


def layouts(frame: Any) -> list[tuple[str, Any, dict[str, Any]]]:
    """The tables to draw, each with its axes: length by order, or by depth where orders are one.

    A table for each number of paragraphs where the length varies too. Depths are rounded to
    quarters.
    """
    x = "max_tokens" if frame["max_tokens"].nunique() > 1 else "n_paragraphs"
    both = x == "max_tokens" and frame["n_paragraphs"].nunique() > 1
    parts = list(frame.groupby("n_paragraphs")) if both else [(None, frame)]
    axes: dict[str, Any] = {"x": x, "y": "order", "opacity": "valid"}
    if frame["order"].nunique() == 1:
        axes |= {"y": "depth", "opacity": "examples"}
        quarters = [
            (n, one.assign(depth=(one["depth"].astype(float) * 4).round() / 4)) for n, one in parts
        ]
        parts = quarters
    return [("" if n is None else f", {n} paragraphs", one, axes) for n, one in parts]


def heat_maps(opened: GridFolder) -> list[Part]:
    """Length of the context by place of the facts."""
    if not len(opened.valid):
        return []
    return [
        part
        for name, frame, axes in layouts(opened.frame)
        for part in ablations.pictures(frame, axes, name)
    ]


SECTIONS = (
    what_was_run,
    ablations.verdicts,
    ablations.means,
    heat_maps,
    ablations.against_k,
    ablations.active_heads,
    ablations.responses,
    questions,
    grid_conventions,
    make_again,
)
