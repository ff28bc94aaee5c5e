"""What every grid has in common: models, conditions, measures, and how heads are chosen.

1. A grid of a task says which prompts there are (`places`) and how one is made (`example`).
2. Each is run under every condition; two things are measured: the free-running response
   (`generate`) and the single-step effect from the clean prefix (`step_effect`).
3. Static heads come from a detection corpus of other prompts, so that no head is judged on the
   prompts that it was chosen on. Every model has its own.

A grid of a task of your own is one class, registered with `register_grid`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.conditions import SCORES, Variant, condition, variants
from retrieval_lens.experiments.fields import several, slug, whole_numbers
from retrieval_lens.tasks import RetrievalExample

MEASURES = ("generate", "step_effect")
Place = dict[str, Any]
_CHOICES = {
    "mode": ("zero", "mean", "uniform", "knockout"),
    "scope": ("query", "all"),
    "keep_kv": ("ablated", "clean"),
    "score": tuple(SCORES),
    "match": ("mean_dynamic",),
}
_LISTS = ("models", "conditions", "measures", "k")
_LEAST = {"random_draws": 1, "max_new_tokens": 1, "static_k": 1, "batch_size": 1}


@dataclass(frozen=True, kw_only=True)
class Grid(ABC):
    """The whole configuration of a grid; a folder of results belongs to exactly one.

    Attributes:
        task: Name of the task, in the manifest.
        metrics: Of a response, columns of the results.
        details: What a prompt's `meta` is asked for, columns of the results.
        axes: Names of a place's values, columns of the results.
        replicate: The axis over which matched counts are averaged.
    """

    task: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    details: ClassVar[tuple[str, ...]] = ()
    axes: ClassVar[tuple[str, ...]]
    replicate: ClassVar[str]

    models: Any = ("smollm2-135m",)
    revision: Any = None
    dtype: str = "float32"
    device: Any = None
    conditions: Any = ("none", "dynamic", "static_by_count", "static", "random")
    k: Any = ()
    random_draws: Any = 5
    measures: Any = MEASURES
    mode: str = "zero"
    scope: str = "query"
    keep_kv: str = "ablated"
    max_new_tokens: Any = 64
    score: str = "copy_paste"
    static_k: Any = 20
    match: str = "mean_dynamic"
    batch_size: Any = None

    def __post_init__(self) -> None:
        self._set("k", whole_numbers("k", self.k))
        for name in ("conditions", "measures"):
            self._set(name, several(getattr(self, name)))
        self._set("models", tuple(map(str, several(self.models))))
        _check_numbers(self)
        _check_names(self)
        _check_fit(self)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @abstractmethod
    def places(self, detection: bool) -> Sequence[Place]:
        """Every prompt of the grid, or of its detection corpus: a value for each of `axes`."""

    @abstractmethod
    def example(self, tokenizer: Any, place: Place) -> RetrievalExample:
        """The prompt at a place."""

    @abstractmethod
    def shared_start(self, place: Place) -> Place | None:
        """The place whose prompt begins like this one's for longest, or None."""

    @abstractmethod
    def reference_places(self) -> Sequence[Place]:
        """The prompts of the detection corpus that mean ablation takes its means from."""

    @abstractmethod
    def sources(self) -> dict[str, str]:
        """Fingerprints of the texts that prompts are made from: they may change under a name."""

    @property
    @abstractmethod
    def has_corpus(self) -> bool:
        """Whether there is a detection corpus."""

    @property
    def variants(self) -> list[Variant]:
        """Every condition with its k and draw."""
        return variants(self.conditions, self.k, self.random_draws)

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


def register_grid(grid: type[Grid]) -> type[Grid]:
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


def require_file_names(grid: Grid, name: str) -> None:
    """Refuse values that would share the name of their files.

    Raises:
        InputError: With the names.
    """
    slugs = [slug(one) for one in getattr(grid, name)]
    if len(set(slugs)) < len(slugs):
        raise InputError(f"two {name} would share the name of their files: {slugs}")


def _check_numbers(grid: Grid) -> None:
    require_lists(grid, _LISTS)
    if min(grid.k, default=0) < 0:
        raise InputError(f"wanted k >= 0; got {grid.k}")
    for name, least in _LEAST.items():
        value = getattr(grid, name)
        if name == "batch_size" and value is None:
            continue
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            raise InputError(f"{name} is a whole number from {least}; got {value!r}")


def _check_names(grid: Grid) -> None:
    for name, known in (("measures", MEASURES), *_CHOICES.items()):
        for value in several(getattr(grid, name)):
            if value not in known:
                raise UnknownNameError(f"no {name} {value!r}; known: {', '.join(known)}")
    require_file_names(grid, "models")
    if isinstance(grid.revision, dict):
        unknown = sorted(set(grid.revision) - set(grid.models))
        if unknown:
            raise UnknownNameError(f"revision names {unknown[0]!r}, which is not in models")
    elif grid.revision is not None and len(grid.models) > 1:
        raise InputError("with several models, revision is {model: revision}")


def _check_fit(grid: Grid) -> None:
    """What one field asks of another."""
    chosen = [condition(name) for name in grid.conditions]
    if grid.mode == "mean" and not grid.has_corpus:
        raise InputError("mode 'mean' needs reference prompts: give a detection corpus")
    for one in chosen:
        if one.matched and "dynamic" not in grid.conditions:
            raise InputError(
                f"{one.name!r} masks as many heads as the dynamic runs did: add 'dynamic'"
            )
        if one.static and not grid.has_corpus:
            raise InputError(f"{one.name!r} needs static heads: give a detection corpus")
        if grid.scope == "all" and not one.fixed:
            raise InputError(f"scope='all' is for fixed sets; {one.name!r} is not one")
        if one.per_k and not grid.k:
            raise InputError(f"{one.name!r} has one variant a k: give k, such as k=(0, 5, 10)")
