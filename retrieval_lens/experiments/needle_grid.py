"""Needle prompts over length x depth x seed, in several haystacks, with several needles."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

from retrieval_lens.errors import InputError
from retrieval_lens.experiments.ablation_grid import AblationGrid
from retrieval_lens.experiments.fields import several, whole_numbers
from retrieval_lens.experiments.grid import (
    Place,
    register_grid,
    require_file_names,
    require_lists,
)
from retrieval_lens.files import digest
from retrieval_lens.tasks import RetrievalExample, needle_example, needle_format
from retrieval_lens.tasks.haystacks import read_haystack


@register_grid
@dataclass(frozen=True, kw_only=True)
class NeedleGrid(AblationGrid):
    """Needle prompts: every combination of model, needle, haystack, length, depth and seed.

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
        max_new_tokens: At most so many steps of a response.
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

    Examples:
        >>> grid = NeedleGrid(n_tokens=[100, 200], depths=[0.5], seeds=[0, 1])
        >>> NeedleGrid.from_json(grid.as_json()) == grid
        True
    """

    task: ClassVar[str] = "needle"
    metrics: ClassVar[tuple[str, ...]] = ("exact", "answer_chars", "rouge_l", "truncated")
    axes: ClassVar[tuple[str, ...]] = ("needle", "haystack", "n_tokens", "depth", "seed")
    replicate: ClassVar[str] = "seed"

    n_tokens: Any = (100, 200, 400)
    depths: Any = (0.0, 0.25, 0.5, 0.75, 1.0)
    seeds: Any = (0, 1, 2, 3, 4)
    haystacks: Any = ("mixed",)
    needles: Any = ("magic_word",)
    detection_seeds: Any = (1000, 1001, 1002, 1003, 1004)
    detection_n_tokens: Any = None
    detection_depths: Any = None

    def __post_init__(self) -> None:
        for name in ("n_tokens", "seeds", "detection_seeds"):
            self._set(name, whole_numbers(name, getattr(self, name)))
        self._set("needles", several(self.needles))
        self._set("haystacks", tuple(map(str, several(self.haystacks))))
        self._set("depths", _depths("depths", self.depths))
        lengths = self.n_tokens if self.detection_n_tokens is None else self.detection_n_tokens
        self._set("detection_n_tokens", whole_numbers("detection_n_tokens", lengths))
        depths = self.depths if self.detection_depths is None else self.detection_depths
        self._set("detection_depths", _depths("detection_depths", depths))
        self._check()
        super().__post_init__()

    def _check(self) -> None:
        require_lists(self, ("n_tokens", "depths", "seeds", "haystacks", "needles"))
        require_file_names(self, "haystacks")
        if min(self.n_tokens + self.detection_n_tokens) < 1:
            raise InputError(f"wanted n_tokens >= 1; got {self.n_tokens}")
        for needle in self.needles:
            needle_format(needle)
        shared = sorted(set(self.seeds) & set(self.detection_seeds))
        if shared:
            raise InputError(
                f"seeds {shared} are both in seeds and in detection_seeds: static heads would be "
                f"judged on prompts that they were chosen on"
            )

    def places(self, detection: bool) -> Sequence[Place]:
        """Every combination; see `AblationGrid`."""
        axes = self.n_tokens, self.depths, self.seeds
        if detection:
            axes = self.detection_n_tokens, self.detection_depths, self.detection_seeds
        found = product(self.needles, self.haystacks, *axes)
        return [dict(zip(self.axes, values, strict=True)) for values in found]

    def example(self, tokenizer: Any, place: Place) -> RetrievalExample:
        """The needle prompt; see `Grid`."""
        return needle_example(tokenizer, **place)

    def shared_start(self, place: Place) -> Place:
        """The prompt with the deepest needle: haystack before it is the same for all."""
        return place | {"depth": max(self.depths), "seed": self.seeds[0]}

    def reference_places(self) -> Sequence[Place]:
        """The detection prompts of the first length and depth."""
        first = {"n_tokens": self.detection_n_tokens[0], "depth": self.detection_depths[0]}
        return [place for place in self.places(detection=True) if place | first == place]

    def sources(self) -> dict[str, str]:
        """Fingerprints of the haystacks' texts."""
        return {haystack: digest(read_haystack(haystack)[1]) for haystack in self.haystacks}

    @property
    def has_corpus(self) -> bool:
        """Whether there are detection seeds."""
        return bool(self.detection_seeds)


def _depths(name: str, value: Any) -> tuple[float, ...]:
    found = several(value)
    for depth in found:
        if isinstance(depth, bool) or not isinstance(depth, int | float) or not 0 <= depth <= 1:
            raise InputError(f"{name} holds numbers from 0 to 1; got {depth!r}")
    if len({f"{depth:g}" for depth in found}) < len(found):
        raise InputError(f"{name} holds a depth twice (six digits count): {list(found)}")
    return tuple(float(depth) for depth in found)
