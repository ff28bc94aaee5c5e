"""Grids that ablate heads: conditions, measures, and how heads are chosen.

1. Each prompt is run under every condition; two things are measured: the free-running response
   (`generate`) and the single-step effect from the clean prefix (`step_effect`).
2. Static heads come from a detection corpus of other prompts, so that no head is judged on the
   prompts that it was chosen on. Every model has its own.
3. Stage `detect`: clean traces of the detection corpus; their mean scores rank the static heads.
4. Stage `own`: a clean trace, and every condition that a prompt's own cell can settle.
5. Stage `matched`: conditions that mask as many heads as the dynamic runs of stage `own` did,
   averaged over the replicates (seeds) of the same place: model, needle, haystack, length, depth.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.conditions import SCORES, Variant, condition, variants
from retrieval_lens.experiments.fields import several, whole_numbers
from retrieval_lens.experiments.grid import Grid, Place, require_least, require_lists

DETECT, OWN, MATCHED = "detect", "own", "matched"
MEASURES = ("generate", "step_effect")
_CHOICES = {
    "measures": MEASURES,
    "mode": ("zero", "mean", "uniform", "knockout"),
    "scope": ("query", "all"),
    "keep_kv": ("ablated", "clean"),
    "score": tuple(SCORES),
    "match": ("mean_dynamic",),
}
_LISTS = ("conditions", "measures", "k")
_LEAST = {"random_draws": 1, "max_new_tokens": 1, "static_k": 1}


@dataclass(frozen=True, kw_only=True)
class AblationGrid(Grid):
    """A grid whose prompts are run with heads ablated.

    Attributes:
        replicate: The axis over which matched counts are averaged.
    """

    stages: ClassVar[tuple[str, ...]] = (DETECT, OWN, MATCHED)
    replicate: ClassVar[str]

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
        super().__post_init__()
        _check_fields(self)
        _check_fit(self)

    @abstractmethod
    def places(self, detection: bool) -> Sequence[Place]:
        """Every prompt of the grid, or of its detection corpus: a value for each of `axes`."""

    @abstractmethod
    def shared_start(self, place: Place) -> Place | None:
        """The place whose prompt begins like this one's for longest, or None."""

    @abstractmethod
    def reference_places(self) -> Sequence[Place]:
        """The prompts of the detection corpus that mean ablation takes its means from."""

    @property
    @abstractmethod
    def has_corpus(self) -> bool:
        """Whether there is a detection corpus."""

    @property
    def variants(self) -> list[Variant]:
        """Every condition with its k and draw."""
        return variants(self.conditions, self.k, self.random_draws)

    def stage_places(self, stage: str) -> Sequence[Place]:
        """See `Grid`; none where no condition is matched."""
        if stage == MATCHED and not self.stage_variants(MATCHED):
            return []
        return self.places(detection=stage == DETECT)

    def stage_variants(self, stage: str) -> list[Variant]:
        """See `Grid`."""
        wanted = stage == MATCHED
        return [v for v in self.variants if condition(v.condition).matched == wanted]

    def ran_smaller(self, cell: Any, result: Any) -> bool:
        """See `Grid`."""
        wanted = self.batch_size or len(self.stage_variants(cell.stage))
        return any(n_rows < wanted for n_rows in result.get("n_rows", {}).values())

    # what follows lies in modules that build on this one

    def open_worker(self, name: str, model: Any) -> Callable[[Any, dict[str, Any]], dict[str, Any]]:
        """See `Grid`."""
        from retrieval_lens.experiments.worker import GridWorker

        return GridWorker(self, name, model)

    def stage_inputs(self, folder: Any, stage: str, cells: Sequence[Any]) -> dict[Any, Any]:
        """Static ranking and matched counts; see `Grid`."""
        from retrieval_lens.experiments.inputs import ablation_inputs

        return ablation_inputs(self, folder, stage, cells)

    def frame(self, folder: Any, partial: bool = False) -> Any:
        """See `Grid`."""
        from retrieval_lens.experiments.results import ablation_frame

        return ablation_frame(self, folder, partial)


def _check_fields(grid: AblationGrid) -> None:
    require_lists(grid, _LISTS)
    if min(grid.k, default=0) < 0:
        raise InputError(f"wanted k >= 0; got {grid.k}")
    batch = {} if grid.batch_size is None else {"batch_size": 1}
    require_least(grid, _LEAST | batch)
    for name, known in _CHOICES.items():
        for value in several(getattr(grid, name)):
            if value not in known:
                raise UnknownNameError(f"no {name} {value!r}; known: {', '.join(known)}")


def _check_fit(grid: AblationGrid) -> None:
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
