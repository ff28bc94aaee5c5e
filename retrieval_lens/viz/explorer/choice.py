"""What is chosen in an explorer, and what may be chosen.

| field | what |
|---|---|
| `step` | decode step, from 0 |
| `head` | (layer, head), or None for all heads active at the step |
| `position` | prompt position, or None |
| `score` | name of the score that the map shows |
| `sort` | order of the rows: `variance`, `mean` or `layer` |
| `layers` | the layers whose heads are shown, ascending, or None for all |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import index
from typing import Any

from traitlets import TraitError

from retrieval_lens.errors import InputError

FIELDS = ("step", "head", "position", "score", "sort", "layers")
SORTS = ("variance", "mean", "layer")


class ChoiceError(InputError, TraitError):
    """A choice that the trace does not have; traitlets takes back what it was about to set."""


@dataclass(frozen=True)
class Limits:
    """How far each field goes.

    Examples:
        >>> limits = Limits(n_steps=6, n_layers=4, n_heads=3, n_prompt=12, scores=("copy_paste",))
        >>> limits.check("head", [3, 1])
        (3, 1)
    """

    n_steps: int
    n_layers: int
    n_heads: int
    n_prompt: int
    scores: tuple[str, ...]

    def check(self, field: str, value: Any) -> Any:
        """The value of a field as it is kept.

        Raises:
            InputError: A value that this field cannot take.
        """
        return getattr(self, f"_{field}")(value)

    def merged(self, present: Mapping[str, Any], changes: Any) -> dict[str, Any]:
        """The present choice with changes.

        Raises:
            InputError: Not a mapping, a field that there is not, or a value that it cannot take.
        """
        if not isinstance(changes, Mapping):
            raise ChoiceError(f'selection={changes!r:.80}; wanted a dict such as {{"step": 3}}')
        unknown = [name for name in changes if name not in FIELDS]
        if unknown:
            raise ChoiceError(f"no field {unknown[0]!r} in a selection; it has {', '.join(FIELDS)}")
        return {name: self.check(name, {**present, **changes}[name]) for name in FIELDS}

    def _step(self, value: Any) -> int:
        return _whole("step", value, self.n_steps, "steps")

    def _position(self, value: Any) -> int | None:
        if value is None:
            return None
        return _whole("position", value, self.n_prompt, "prompt tokens")

    def _head(self, value: Any) -> tuple[int, int] | None:
        if value is None:
            return None
        pair = (value.layer, value.head) if hasattr(value, "layer") else value
        try:
            layer, head = map(_index, pair)
        except (TypeError, ValueError):
            raise ChoiceError(f"head={value!r:.80}; wanted (layer, head) or None") from None
        if not (0 <= layer < self.n_layers and 0 <= head < self.n_heads):
            raise ChoiceError(
                f"no head {(layer, head)} among {self.n_layers} layers of {self.n_heads} heads; "
                "both count from 0"
            )
        return layer, head

    def _score(self, value: Any) -> str:
        return _named("score", value, self.scores)

    def _sort(self, value: Any) -> str:
        return _named("sort", value, SORTS)

    def _layers(self, value: Any) -> tuple[int, ...] | None:
        if value is None:
            return None
        try:
            given = tuple(sorted({_index(layer) for layer in value}))
        except TypeError:
            raise ChoiceError(
                f"layers={value!r:.80}; wanted whole numbers such as range(10, 20), or None"
            ) from None
        if not given or given[0] < 0 or given[-1] >= self.n_layers:
            raise ChoiceError(
                f"layers={given!r:.80}; wanted one or more of 0 to {self.n_layers - 1}, or None "
                "for all"
            )
        return given


def _index(value: Any) -> int:
    """A whole number; True is none."""
    if isinstance(value, bool):
        raise TypeError("a truth value is not a number")
    return index(value)


def _whole(field: str, value: Any, limit: int, what: str) -> int:
    try:
        number = _index(value)
    except TypeError:
        raise ChoiceError(f"{field}={value!r:.80}; wanted a whole number") from None
    if not 0 <= number < limit:
        raise ChoiceError(f"{field}={number} of {limit} {what}; wanted 0 to {limit - 1}")
    return number


def _named(field: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ChoiceError(f"{field}={value!r:.80}; wanted one of {', '.join(map(repr, known))}")
    return value
