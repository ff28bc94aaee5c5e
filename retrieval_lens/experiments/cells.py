"""A grid cut into cells: one prompt in one stage, which is one file when it is done.

1. `detect`: clean traces of the detection corpus; their mean scores rank the static heads.
2. `own`: a clean trace, and every condition that a prompt's own cell can settle.
3. `matched`: conditions that mask as many heads as the dynamic runs of stage `own` did, averaged
   over the seeds of the same (needle, haystack, length, depth).

A cell's result depends on the grid, the cell and its inputs alone, never on what ran before it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from retrieval_lens.experiments.conditions import Variant, condition
from retrieval_lens.experiments.grid import NeedleGrid, slug

DETECT, OWN, MATCHED = "detect", "own", "matched"
STAGES = (DETECT, OWN, MATCHED)


@dataclass(frozen=True)
class Cell:
    """One prompt in one stage.

    Example:
        >>> Cell("own", "magic_word", "coast", 400, 0.5, 3).key
        'own-magic_word-coast-400-0.5-3'
    """

    stage: str
    needle: str
    haystack: str
    n_tokens: int
    depth: float
    seed: int

    @property
    def key(self) -> str:
        """Name of its file."""
        where = f"{self.needle}-{slug(self.haystack)}-{self.n_tokens}-{self.depth:g}"
        return f"{self.stage}-{where}-{self.seed}"

    @property
    def group(self) -> tuple[str, str, int, float]:
        """The cells that share one matched count: all seeds of one place in the grid."""
        return self.needle, self.haystack, self.n_tokens, self.depth

    def as_json(self) -> dict[str, Any]:
        """The cell as JSON types."""
        return asdict(self)


def stage_variants(grid: NeedleGrid, stage: str) -> list[Variant]:
    """What a cell of this stage runs."""
    wanted = stage == MATCHED
    return [v for v in grid.variants if condition(v.condition).matched == wanted]


def grid_cells(grid: NeedleGrid) -> dict[str, list[Cell]]:
    """Every cell of a grid by stage, in a fixed order; a stage without work has none.

    Example:
        >>> grid = NeedleGrid(n_tokens=100, depths=0.5, seeds=(0, 1), detection_seeds=9)
        >>> {stage: len(cells) for stage, cells in grid_cells(grid).items()}
        {'detect': 1, 'own': 2, 'matched': 2}
    """
    corpus = grid.detection_n_tokens, grid.detection_depths, grid.detection_seeds
    prompts = grid.n_tokens, grid.depths, grid.seeds
    return {
        DETECT: list(_cells(grid, DETECT, *corpus)),
        OWN: list(_cells(grid, OWN, *prompts)),
        MATCHED: list(_cells(grid, MATCHED, *prompts)) if stage_variants(grid, MATCHED) else [],
    }


def _cells(
    grid: NeedleGrid,
    stage: str,
    lengths: tuple[int, ...],
    depths: tuple[float, ...],
    seeds: tuple[int, ...],
) -> Iterable[Cell]:
    for needle in grid.needles:
        for haystack in grid.haystacks:
            for n_tokens in lengths:
                for depth in depths:
                    for seed in seeds:
                        yield Cell(stage, needle, haystack, n_tokens, depth, seed)
