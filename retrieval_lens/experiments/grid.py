"""What every grid has in common: models, prompts, and how it becomes cells, results and JSON.

1. A grid names its models and its prompts: places, a value for each of `axes`.
2. It runs in stages; a cell is one prompt of one model in one stage, and runs variants.
3. It says how a worker for its cells is opened and what their results are as a table. Folder,
   resuming, executors and status are the same for all.

A grid of your own is one class, registered with `register_grid`; to ablate heads in prompts of your
own, subclass `AblationGrid`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.conditions import Variant
from retrieval_lens.experiments.fields import several, slug
from retrieval_lens.tasks import RetrievalExample

Place = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Grid(ABC):
    """The whole configuration of a grid; a folder of results belongs to exactly one.

    Attributes:
        task: Name of the task, in the manifest.
        stages: Names of its stages, in order; a stage may need results of those before it.
        metrics: Of a response, columns of the results.
        details: What a prompt's `meta` is asked for, columns of the results.
        axes: Names of a place's values, columns of the results.
        timings: Columns that differ from run to run; `results.parquet` is without them.
    """

    task: ClassVar[str]
    stages: ClassVar[tuple[str, ...]]
    metrics: ClassVar[tuple[str, ...]]
    details: ClassVar[tuple[str, ...]] = ()
    axes: ClassVar[tuple[str, ...]]
    timings: ClassVar[tuple[str, ...]] = ()

    models: Any = ("smollm2-135m",)
    revision: Any = None
    dtype: str = "float32"
    device: Any = None

    def __post_init__(self) -> None:
        self._set("models", tuple(map(str, several(self.models))))
        require_lists(self, ("models",))
        require_file_names(self, "models")
        if isinstance(self.revision, dict):
            unknown = sorted(set(self.revision) - set(self.models))
            if unknown:
                raise UnknownNameError(f"revision names {unknown[0]!r}, which is not in models")
        elif self.revision is not None and len(self.models) > 1:
            raise InputError("with several models, revision is {model: revision}")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @abstractmethod
    def stage_places(self, stage: str) -> Sequence[Place]:
        """Every prompt of a stage."""

    @abstractmethod
    def stage_variants(self, stage: str) -> list[Variant]:
        """What a cell of a stage runs."""

    @abstractmethod
    def example(self, tokenizer: Any, place: Place) -> RetrievalExample:
        """The prompt at a place."""

    @abstractmethod
    def sources(self) -> dict[str, str]:
        """Fingerprints of the files that cells are made from: they may change under a name."""

    @abstractmethod
    def open_worker(self, name: str, model: Any) -> Callable[[Any, dict[str, Any]], dict[str, Any]]:
        """What runs the cells of a model: cell and inputs in, result as JSON types out.

        Args:
            name: Which of the grid's models.
            model: The same as a loaded bridge; None loads it.
        """

    @abstractmethod
    def frame(self, folder: Any, partial: bool = False) -> Any:
        """The results as a table, one row a run; see `load_results`.

        Args:
            folder: A `RunFolder` of this grid.
            partial: Take the finished cells of an unfinished grid.
        """

    def stage_inputs(self, folder: Any, stage: str, cells: Sequence[Any]) -> dict[Any, Any]:
        """What each cell of a model's stage is given from earlier stages, which are done.

        Args:
            folder: A `RunFolder` of this grid.
            stage: Which.
            cells: All cells of one model in it.
        """
        del folder, stage
        return {cell: {} for cell in cells}

    def require_ready(self) -> None:
        """Refuse what would fail later: called when a folder is opened to be run.

        Raises:
            InputError: Files that are not what the grid needs, or prompts that heads, a probe or a
                threshold were chosen on.
        """
        return

    def ran_smaller(self, cell: Any, result: Any) -> bool:
        """Whether a cell ran in smaller batches than the grid wants."""
        del cell, result
        return False

    def revision_of(self, model: str) -> Any:
        """The revision that a model of the grid is loaded at."""
        return self.revision.get(model) if isinstance(self.revision, dict) else self.revision

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON types."""
        return {"task": self.task, **json.loads(json.dumps(asdict(self)))}

    @classmethod
    def from_json(cls, content: Any) -> Any:
        """The grid of `as_json`, or of any part of it.

        Raises:
            InputError: No JSON object, or the grid of another task.
            UnknownNameError: A field that a grid does not have.
        """
        if not isinstance(content, dict):
            raise InputError(f"a grid is a JSON object, not {type(content).__name__}")
        task = content.get("task", cls.task)
        if task != cls.task:
            raise InputError(f"this is a grid of the task {task!r}, not of {cls.task!r}")
        content = {name: value for name, value in content.items() if name != "task"}
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise UnknownNameError(f"a grid has no {unknown[0]!r}; it has: {', '.join(known)}")
        return cls(**content)


_TASKS: dict[str, type[Grid]] = {}
AnyGrid = TypeVar("AnyGrid", bound=type[Grid])


def register_grid(grid: AnyGrid) -> AnyGrid:
    """Make the grids of a task known under its name; a class decorator.

    Raises:
        InputError: The name is taken.
    """
    if grid.task in _TASKS:
        raise InputError(f"there are grids of a task {grid.task!r} already")
    _TASKS[grid.task] = grid
    return grid


def grid_from_json(content: Any) -> Grid:
    """A grid of any task, from its `as_json`.

    Raises:
        InputError: No JSON object.
        UnknownNameError: Grids of that task are not known.
    """
    if not isinstance(content, dict):
        raise InputError(f"a grid is a JSON object, not {type(content).__name__}")
    task = content.get("task", "needle")
    if task not in _TASKS:
        raise UnknownNameError(f"no grids of a task {task!r}; known: {', '.join(sorted(_TASKS))}")
    return _TASKS[task].from_json(content)


def require_lists(grid: Grid, names: Sequence[str]) -> None:
    """Refuse lists that are empty or hold a value twice.

    Raises:
        InputError: With the name of the field.
    """
    for name in names:
        values: Sequence[Any] = getattr(grid, name)
        if not values and name != "k":
            raise InputError(f"{name} is empty: the grid has nothing to run")
        if len(set(values)) < len(values):
            raise InputError(f"{name} holds a value twice: {list(values)}")


def require_least(grid: Grid, least: dict[str, int]) -> None:
    """Refuse fields that are no whole numbers, or too small.

    Raises:
        InputError: With the name of the field.
    """
    for name, smallest in least.items():
        value = getattr(grid, name)
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < smallest:
            raise InputError(f"{name} is a whole number from {smallest}; got {value!r}")


def require_file_names(grid: Grid, name: str) -> None:
    """Refuse values that would share the name of their files.

    Raises:
        InputError: With the names.
    """
    slugs = [slug(one) for one in getattr(grid, name)]
    if len(set(slugs)) < len(slugs):
        raise InputError(f"two {name} would share the name of their files: {slugs}")
