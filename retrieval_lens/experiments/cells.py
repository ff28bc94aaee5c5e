"""A grid cut into cells: one prompt of one model in one stage, which is one file when it is done.

Models come one after the other, each with all of its stages.

A cell's result depends on the grid, the cell and its inputs alone, never on what ran before it.
"""

from dataclasses import dataclass
from typing import Any

from retrieval_lens.experiments.fields import slug
from retrieval_lens.experiments.grid import Grid, Place


@dataclass(frozen=True)
class Cell:
    """One prompt of one model in one stage.

    Examples:
        >>> Cell.at("own", "smollm2-135m", {"needle": "magic_word", "depth": 0.5, "seed": 3}).key
        'own-smollm2-135m-magic_word-0.5-3'
    """

    stage: str
    model: str
    place: tuple[tuple[str, Any], ...]

    @classmethod
    def at(cls, stage: str, model: str, place: Place) -> "Cell":
        """The cell at a place."""
        return cls(stage, model, tuple(place.items()))

    @property
    def key(self) -> str:
        """Name of its file."""
        values = [f"{v:g}" if isinstance(v, float) else slug(str(v)) for _, v in self.place]
        return "-".join([self.stage, slug(self.model), *values])

    @property
    def where(self) -> dict[str, Any]:
        """Its place in the grid, whatever the stage."""
        return {"model": self.model, **dict(self.place)}

    def without(self, replicate: str) -> tuple[Any, ...]:
        """The cells that share one matched count: all of one place but for the replicate."""
        return self.model, *(value for name, value in self.place if name != replicate)

    def as_json(self) -> dict[str, Any]:
        """The cell as JSON types."""
        return {"stage": self.stage, **self.where}


def grid_cells(grid: Grid, model: str | None = None) -> dict[str, list[Cell]]:
    """Every cell of a grid by stage, in a fixed order; a stage without work has none.

    Args:
        grid: What is run.
        model: Its cells alone; None takes those of all models.

    Examples:
        >>> from retrieval_lens.experiments import NeedleGrid
        >>> grid = NeedleGrid(n_tokens=100, depths=0.5, seeds=(0, 1), detection_seeds=9)
        >>> {stage: len(cells) for stage, cells in grid_cells(grid).items()}
        {'detect': 1, 'own': 2, 'matched': 2}
    """
    models = grid.models if model is None else (model,)
    places = {stage: grid.stage_places(stage) for stage in grid.stages}
    return {
        stage: [Cell.at(stage, one, place) for one in models for place in found]
        for stage, found in places.items()
    }
