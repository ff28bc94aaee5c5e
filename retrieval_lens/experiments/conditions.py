"""What is masked in a grid: each condition a name, what it needs, and how its heads are made.

1. A condition turns what is known of a grid cell (`Known`) into heads for the ablator.
2. A *matched* condition masks as many heads as the cell's dynamic runs did on average, so it runs
   after them.
3. A condition may come in several *variants*: one for each `k`, one for each random draw.

A condition of your own is one function and one call of `register_condition`; worker processes and
Ray nodes know it if importing its module registers it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.heads import (
    Dynamic,
    DynamicMinus,
    ExampleStatic,
    HeadSet,
    LayerMatched,
    MassMatched,
    RandomOutside,
    StaticByCount,
    StaticMinus,
    TimeShifted,
    random_heads,
)
from retrieval_lens.scores import CopyPaste, Reasoning, StepScore

SCORES: dict[str, Callable[[], StepScore]] = {"copy_paste": CopyPaste, "reasoning": Reasoning}


@dataclass(frozen=True, eq=False)
class Known:
    """What a condition may build its heads from.

    Attributes:
        ranking: All heads by mean score over the detection corpus; empty without one.
        static_k: How many of them are the static set.
        score: By which heads are active.
        shape: Layers of the model, heads in each.
        k: Of the variant; 0 where the condition has none.
        draw: Of the variant; 0 where the condition has none.
        count: Heads that a matched condition masks; 0 for others.
    """

    ranking: HeadSet
    static_k: int
    score: StepScore
    shape: tuple[int, int]
    k: int = 0
    draw: int = 0
    count: int = 0

    @property
    def static(self) -> HeadSet:
        """The static set S."""
        return self.ranking.top(self.static_k)


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes:
        name: What a grid calls it.
        make: From what is known to heads: None, a head set, or a `StepHeads`.
        matched: Whether it masks the mean count of the cell's dynamic runs.
        static: Whether it needs the static ranking.
        fixed: Whether it masks the same heads at every step, whatever the step shows.
        per_k: Whether there is a variant for each `k` of the grid.
        per_draw: Whether there is a variant for each random draw.
    """

    name: str
    make: Callable[[Known], Any]
    matched: bool = False
    static: bool = False
    fixed: bool = False
    per_k: bool = False
    per_draw: bool = False


@dataclass(frozen=True)
class Variant:
    """A condition with its k and draw, where it has them."""

    condition: str
    k: int | None = None
    draw: int | None = None

    @property
    def label(self) -> str:
        """Name that tells it from the other variants of a grid.

        Examples:
            >>> Variant("random_k", k=5, draw=0).label
            'random_k k=5 draw=0'
        """
        parts = [f"{name}={value}" for name, value in (("k", self.k), ("draw", self.draw))]
        return " ".join([self.condition, *(p for p in parts if not p.endswith("None"))])


_REGISTRY: dict[str, Condition] = {}


def register_condition(condition: Condition) -> None:
    """Make a condition known under its name.

    Raises:
        InputError: The name is taken.
    """
    if condition.name in _REGISTRY:
        raise InputError(f"a condition {condition.name!r} is already registered")
    _REGISTRY[condition.name] = condition


def condition_names() -> list[str]:
    """The names of all conditions, sorted.

    Examples:
        >>> "static_by_count" in condition_names()
        True
    """
    return sorted(_REGISTRY)


def condition(name: str) -> Condition:
    """The condition of that name.

    Raises:
        UnknownNameError: None is registered under it.
    """
    if name not in _REGISTRY:
        raise UnknownNameError(f"no condition {name!r}; known: {', '.join(condition_names())}")
    return _REGISTRY[name]


def variants(names: tuple[str, ...], ks: tuple[int, ...], n_draws: int) -> list[Variant]:
    """Every variant of the named conditions, in order.

    Examples:
        >>> [v.label for v in variants(("none", "dynamic_k"), (1, 5), n_draws=2)]
        ['none', 'dynamic_k k=1', 'dynamic_k k=5']
    """
    return [
        Variant(name, k, draw)
        for name in names
        for k in (ks if condition(name).per_k else (None,))
        for draw in (range(n_draws) if condition(name).per_draw else (None,))
    ]


for _condition in (
    Condition("none", lambda known: None, fixed=True),
    Condition("dynamic", lambda known: Dynamic(score=known.score)),
    Condition(
        "dynamic_k", lambda known: Dynamic(known.k, known.score, known.ranking or None), per_k=True
    ),
    Condition(
        "static",
        lambda known: known.ranking.top(known.count),
        matched=True,
        static=True,
        fixed=True,
    ),
    Condition(
        "random",
        lambda known: random_heads(known.shape, known.count, known.draw),
        matched=True,
        fixed=True,
        per_draw=True,
    ),
    Condition(
        "example_static", lambda known: ExampleStatic(known.count, known.score), matched=True
    ),
    Condition(
        "static_by_count", lambda known: StaticByCount(known.ranking, known.score), static=True
    ),
    Condition("time_shifted", lambda known: TimeShifted(score=known.score)),
    Condition(
        "layer_matched",
        lambda known: LayerMatched(seed=known.draw, score=known.score),
        per_draw=True,
    ),
    Condition("mass_matched", lambda known: MassMatched(known.score)),
    Condition(
        "random_outside",
        lambda known: RandomOutside(known.static, seed=known.draw, score=known.score),
        static=True,
        per_draw=True,
    ),
    Condition(
        "dynamic_minus_static", lambda known: DynamicMinus(known.static, known.score), static=True
    ),
    Condition(
        "static_minus_dynamic", lambda known: StaticMinus(known.static, known.score), static=True
    ),
    Condition(
        "static_k", lambda known: known.ranking.top(known.k), static=True, fixed=True, per_k=True
    ),
    Condition(
        "random_k",
        lambda known: random_heads(known.shape, known.k, known.draw),
        fixed=True,
        per_k=True,
        per_draw=True,
    ),
):
    register_condition(_condition)
