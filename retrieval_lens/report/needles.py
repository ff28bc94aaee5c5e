"""The report of a grid of needles."""

from retrieval_lens.report import ablations
from retrieval_lens.report.grid_folder import GridFolder
from retrieval_lens.report.grid_record import grid_conventions, make_again, what_was_run
from retrieval_lens.report.parts import Part

TITLE = "Needles under ablation"


def heat_maps(opened: GridFolder) -> list[Part]:
    """Length by depth."""
    return ablations.pictures(opened.valid, {"x": "n_tokens", "y": "depth"})


SECTIONS = (
    what_was_run,
    ablations.verdicts,
    ablations.means,
    heat_maps,
    ablations.against_k,
    ablations.active_heads,
    ablations.responses,
    grid_conventions,
    make_again,
)
