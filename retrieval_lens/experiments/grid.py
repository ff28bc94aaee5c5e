"""What a grid runs: needle prompts over model x length x depth x seed, under several conditions.

1. Prompts: every combination of `models`, `needles`, `haystacks`, `n_tokens`, `depths`, `seeds`.
2. Each is run under every condition; two things are measured: the free-running response
   (`generate`) and the single-step effect from the clean prefix (`step_effect`).
3. Static heads come from a detection corpus with seeds of its own, so that no head is judged on the
   prompts that it was chosen on. Every model has its own.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.conditions import SCORES, Variant, condition, variants
from retrieval_lens.tasks import needle_format

MEASURES = ("generate", "step_effect")
_CHOICES = {
    "mode": ("zero", "mean", "uniform", "knockout"),
    "scope": ("query", "all"),
    "keep_kv": ("ablated", "clean"),
    "score": tuple(SCORES),
    "match": ("mean_dynamic",),
}
_LISTS = ("models", "n_tokens", "seeds", "haystacks", "needles", "conditions", "measures", "k")
_LEAST = {"random_draws": 1, "max_new_tokens": 1, "static_k": 1, "batch_size": 1}


@dataclass(frozen=True)
class NeedleGrid:
    """The whole configuration of a grid; a folder of results belongs to exactly one.

    Args:
        models: Named checkpoints, folders or Hub ids.
        revision: Of a Hub id; with several models `{model: revision}`.
        dtype: Of the weights.
        device: Default: the first GPU, or the CPU where there is none.
        n_tokens: Lengths of the haystack.
        depths: Where the needle goes, from 0 to 1.
        seeds: Each draws an answer.
        haystacks: Shipped names, text files or folders.
        needles: Names of needle formats.
        conditions: Names, see `experiments.condition_names()`.
        k: For the conditions that have one variant a k.
        random_draws: How many draws of the random conditions.
        measures: `generate`, `step_effect`, or both.
        mode: How a head is masked: zero, mean, uniform or knockout.
        scope: Where: `query`, the current row in decode, or `all` positions (fixed sets only).
        keep_kv: Keys and values kept for later steps: of the `ablated` pass, or the `clean` one.
        max_new_tokens: Most steps of a response.
        score: By which heads are dynamic, and ranked: copy_paste or reasoning.
        detection_seeds: Of the detection corpus, none of them in `seeds`; empty for no corpus.
        detection_n_tokens: Its lengths; those of the grid by default.
        detection_depths: Its depths; those of the grid by default.
        static_k: Size of the static set S.
        match: `mean_dynamic`: matched conditions mask round(mean |D_t|) heads, over all steps,
            empty ones too, of the dynamic runs of their (needle, haystack, length, depth).
        batch_size: Rows that run together at most; None runs all conditions of a prompt at once.

    Raises:
        InputError: A value out of range, twice, or seeds that detection and grid share.
        UnknownNameError: No such condition, measure, needle, mode …; the known ones are listed.

    Example:
        >>> grid = NeedleGrid(n_tokens=[100, 200], depths=[0.5], seeds=[0, 1])
        >>> NeedleGrid.from_json(grid.as_json()) == grid
        True
    """

    models: Any = ("smollm2-135m",)
    revision: Any = None
    dtype: str = "float32"
    device: Any = None
    n_tokens: Any = (100, 200, 400)
    depths: Any = (0.0, 0.25, 0.5, 0.75, 1.0)
    seeds: Any = (0, 1, 2, 3, 4)
    haystacks: Any = ("mixed",)
    needles: Any = ("magic_word",)
    conditions: Any = ("none", "dynamic", "static_by_count", "static", "random")
    k: Any = ()
    random_draws: Any = 5
    measures: Any = MEASURES
    mode: str = "zero"
    scope: str = "query"
    keep_kv: str = "ablated"
    max_new_tokens: Any = 64
    score: str = "copy_paste"
    detection_seeds: Any = (1000, 1001, 1002, 1003, 1004)
    detection_n_tokens: Any = None
    detection_depths: Any = None
    static_k: Any = 20
    match: str = "mean_dynamic"
    batch_size: Any = None

    def __post_init__(self) -> None:
        for name in ("n_tokens", "seeds", "k", "detection_seeds"):
            self._set(name, _whole_numbers(name, getattr(self, name)))
        for name in ("models", "depths", "haystacks", "needles", "conditions", "measures"):
            self._set(name, _several(getattr(self, name)))
        for name in ("models", "haystacks"):
            self._set(name, tuple(map(str, getattr(self, name))))
        self._set("depths", _depths("depths", self.depths))
        if self.detection_n_tokens is None:
            self._set("detection_n_tokens", self.n_tokens)
        if self.detection_depths is None:
            self._set("detection_depths", self.depths)
        lengths = _whole_numbers("detection_n_tokens", self.detection_n_tokens)
        self._set("detection_n_tokens", lengths)
        self._set("detection_depths", _depths("detection_depths", self.detection_depths))
        _check_numbers(self)
        _check_names(self)
        _check_fit(self)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def variants(self) -> list[Variant]:
        """Every condition with its k and draw."""
        return variants(self.conditions, self.k, self.random_draws)

    def revision_of(self, model: str) -> Any:
        """The revision that a model of the grid is loaded at."""
        return self.revision.get(model) if isinstance(self.revision, dict) else self.revision

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON types."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, content: Any) -> "NeedleGrid":
        """The grid of `as_json`, or of any part of it.

        Raises:
            InputError: No JSON object.
            UnknownNameError: A field that a grid does not have.
        """
        if not isinstance(content, dict):
            raise InputError(f"a grid is a JSON object, not {type(content).__name__}")
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise UnknownNameError(f"a grid has no {unknown[0]!r}; it has: {', '.join(known)}")
        return cls(**content)


def _several(value: Any) -> tuple[Any, ...]:
    """A tuple; a single value becomes a tuple of one."""
    if isinstance(value, str | Path) or not hasattr(value, "__iter__"):
        return (value,)
    return tuple(value)


def _whole_numbers(name: str, value: Any) -> tuple[int, ...]:
    found = _several(value)
    for one in found:
        if isinstance(one, bool) or not hasattr(one, "__index__"):
            raise InputError(f"{name} holds whole numbers; got {one!r}")
    return tuple(one.__index__() for one in found)


def _depths(name: str, value: Any) -> tuple[float, ...]:
    found = _several(value)
    for depth in found:
        if isinstance(depth, bool) or not isinstance(depth, int | float) or not 0 <= depth <= 1:
            raise InputError(f"{name} holds numbers from 0 to 1; got {depth!r}")
    if len({f"{depth:g}" for depth in found}) < len(found):
        raise InputError(f"{name} holds a depth twice (six digits count): {list(found)}")
    return tuple(float(depth) for depth in found)


def _check_numbers(grid: NeedleGrid) -> None:
    for name in _LISTS:
        values: Sequence[Any] = getattr(grid, name)
        if not values and name != "k":
            raise InputError(f"{name} is empty: the grid has nothing to run")
        if len(set(values)) < len(values):
            raise InputError(f"{name} holds a value twice: {list(values)}")
    if min(grid.n_tokens + grid.detection_n_tokens) < 1 or min(grid.k, default=0) < 0:
        raise InputError(f"wanted n_tokens >= 1 and k >= 0; got {grid.n_tokens} and {grid.k}")
    for name, least in _LEAST.items():
        value = getattr(grid, name)
        if name == "batch_size" and value is None:
            continue
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            raise InputError(f"{name} is a whole number from {least}; got {value!r}")


def _check_names(grid: NeedleGrid) -> None:
    for needle in grid.needles:
        needle_format(needle)
    for name, known in (("measures", MEASURES), *_CHOICES.items()):
        for value in _several(getattr(grid, name)):
            if value not in known:
                raise UnknownNameError(f"no {name} {value!r}; known: {', '.join(known)}")
    for name in ("models", "haystacks"):
        slugs = [slug(one) for one in getattr(grid, name)]
        if len(set(slugs)) < len(slugs):
            raise InputError(f"two {name} would share the name of their files: {slugs}")
    if isinstance(grid.revision, dict):
        unknown = sorted(set(grid.revision) - set(grid.models))
        if unknown:
            raise UnknownNameError(f"revision names {unknown[0]!r}, which is not in models")
    elif grid.revision is not None and len(grid.models) > 1:
        raise InputError("with several models, revision is {model: revision}")


def _check_fit(grid: NeedleGrid) -> None:
    """What one field asks of another."""
    chosen = [condition(name) for name in grid.conditions]
    shared = sorted(set(grid.seeds) & set(grid.detection_seeds))
    if shared:
        raise InputError(
            f"seeds {shared} are both in seeds and in detection_seeds: static heads would be "
            f"judged on prompts that they were chosen on"
        )
    if grid.mode == "mean" and not grid.detection_seeds:
        raise InputError("mode 'mean' needs reference prompts: give detection_seeds")
    for one in chosen:
        if one.matched and "dynamic" not in grid.conditions:
            raise InputError(
                f"{one.name!r} masks as many heads as the dynamic runs did: add 'dynamic'"
            )
        if one.static and not grid.detection_seeds:
            raise InputError(f"{one.name!r} needs static heads: give detection_seeds")
        if grid.scope == "all" and not one.fixed:
            raise InputError(f"scope='all' is for fixed sets; {one.name!r} is not one")
        if one.per_k and not grid.k:
            raise InputError(f"{one.name!r} has one variant a k: give k, such as k=(0, 5, 10)")


def slug(name: str) -> str:
    """The name of a haystack or a model in file names.

    Example:
        >>> slug("coast"), slug("/data/my essays.txt")
        ('coast', 'my_essays.txt')
    """
    return "".join(c if c.isalnum() or c in ".-_" else "_" for c in Path(name).name)
