"""A grid cut into cells: one prompt of one model in one stage, which is one file when it is done.

1. `detect`: clean traces of the detection corpus; their mean scores rank the static heads.
2. `own`: a clean trace, and every condition that a prompt's own cell can settle.
3. `matched`: conditions that mask as many heads as the dynamic runs of stage `own` did, averaged
   over the seeds of the same (model, needle, haystack, length, depth).

Models come one after the other, each with all of its stages.

A cell's result depends on the grid, the cell and its inputs alone, never on what ran before it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product, starmap
from typing import Any

from retrieval_lens.experiments.conditions import Variant, condition
from retrieval_lens.experiments.grid import NeedleGrid, slug

DETECT, OWN, MATCHED = "detect", "own", "matched"
STAGES = (DETECT, OWN, MATCHED)


@dataclass(frozen=True)
class Cell:
    """One prompt of one model in one stage.

    Example:
        >>> Cell("own", "smollm2-135m", "magic_word", "coast", 400, 0.5, 3).key
        'own-smollm2-135m-magic_word-coast-400-0.5-3'
    """

    stage: str
    model: str
    needle: str
    haystack: str
    n_tokens: int
    depth: float
    seed: int

    @property
    def key(self) -> str:
        """Name of its file."""
        where = f"{slug(self.model)}-{self.needle}-{slug(self.haystack)}"
        return f"{self.stage}-{where}-{self.n_tokens}-{self.depth:g}-{self.seed}"

    @property
    def group(self) -> tuple[str, str, str, int, float]:
        """The cells that share one matched count: all seeds of one place in the grid."""
        return self.model, self.needle, self.haystack, self.n_tokens, self.depth

    @property
    def where(self) -> dict[str, Any]:
        """Its place in the grid, whatever the stage."""
        return {name: value for name, value in self.as_json().items() if name != "stage"}

    def as_json(self) -> dict[str, Any]:
        """The cell as JSON types."""
        return asdict(self)


def stage_variants(grid: NeedleGrid, stage: str) -> list[Variant]:
    """What a cell of this stage runs."""
    wanted = stage == MATCHED
    return [v for v in grid.variants if condition(v.condition).matched == wanted]


def grid_cells(grid: NeedleGrid, model: str | None = None) -> dict[str, list[Cell]]:
    """Every cell of a grid by stage, in a fixed order; a stage without work has none.

    Args:
        grid: What is run.
        model: Its cells alone; None takes those of all models.

    Example:
        >>> grid = NeedleGrid(n_tokens=100, depths=0.5, seeds=(0, 1), detection_seeds=9)
        >>> {stage: len(cells) for stage, cells in grid_cells(grid).items()}
        {'detect': 1, 'own': 2, 'matched': 2}
    """
    models = grid.models if model is None else (model,)
    corpus = grid.detection_n_tokens, grid.detection_depths, grid.detection_seeds
    prompts = grid.n_tokens, grid.depths, grid.seeds
    return {
        DETECT: list(_cells(grid, DETECT, models, *corpus)),
        OWN: list(_cells(grid, OWN, models, *prompts)),
        MATCHED: list(_cells(grid, MATCHED, models, *prompts))
        if stage_variants(grid, MATCHED)
        else [],
    }


def _cells(
    grid: NeedleGrid,
    stage: str,
    models: tuple[str, ...],
    lengths: tuple[int, ...],
    depths: tuple[float, ...],
    seeds: tuple[int, ...],
) -> Iterable[Cell]:
    places = product(models, grid.needles, grid.haystacks, lengths, depths, seeds)
    return starmap(partial(Cell, stage), places)
