"""Heads, and ordered sets of them that know where they came from.

1. A `Head` is (layer, head); the layer counts the layers that have attention, as in a trace.
2. A `HeadSet` keeps its order (strongest first), the score of each head, the ids of the examples
   that it was chosen on, and how it was made.
3. Judging a set on an example that it was chosen on would be double dipping: `require_unseen`
   refuses it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Set
from operator import index
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.files import load_json, save_json
from retrieval_lens.heads.head import Head
from retrieval_lens.tasks.example import without_layout


class HeadSet(Set[Head]):
    """An ordered set of heads with scores and provenance; it never changes.

    `&`, `|`, `-`, `^` keep the order of the left set (new heads come last) and the examples of
    both; scores are those of the left set, and are dropped where a head has none. `<=`, `==` and
    `isdisjoint` compare the heads alone.

    Args:
        heads: `Head`s, pairs (layer, head), or texts such as `L18H6`; strongest first.
        scores: One number a head.
        example_ids: Examples that the heads were chosen on.
        provenance: How the set was made, JSON-able.

    Raises:
        InputError: A head twice, a negative index, or scores that do not fit or are not finite.

    Examples:
        >>> a = HeadSet([Head(1, 0), Head(0, 2)], scores=[0.9, 0.5])
        >>> print(a | HeadSet(["L3H3"]), a & HeadSet([(0, 2)]), a.top(1).scores)
        L1H0 L0H2 L3H3 L0H2 (0.9,)
    """

    __slots__ = ("_members", "example_ids", "heads", "provenance", "scores")

    def __init__(
        self,
        heads: Iterable[Any] = (),
        scores: Iterable[Any] | None = None,
        *,
        example_ids: Iterable[str] = (),
        provenance: Mapping[str, Any] | None = None,
    ):
        self.heads: tuple[Head, ...] = tuple(_head(head) for head in heads)
        self.scores: tuple[float, ...] | None = None if scores is None else _scores(scores)
        self.example_ids: tuple[str, ...] = tuple(sorted(_ids(example_ids)))
        self.provenance: dict[str, Any] = dict(provenance or {})
        self._members: frozenset[Head] = frozenset(self.heads)
        if len(self._members) < len(self.heads):
            twice = next(head for head in self.heads if self.heads.count(head) > 1)
            raise InputError(f"head {twice} stands twice in the set")
        if self.scores is not None:
            if len(self.scores) != len(self.heads):
                raise InputError(f"{len(self.scores)} scores for {len(self.heads)} heads")
            if not all(map(math.isfinite, self.scores)):
                raise InputError("a score of the set is NaN or infinite")

    def __contains__(self, head: object) -> bool:
        return (Head.parse(head) if isinstance(head, str) else head) in self._members

    def __iter__(self) -> Iterator[Head]:
        return iter(self.heads)

    def __len__(self) -> int:
        return len(self.heads)

    def __hash__(self) -> int:
        return hash(self._members)

    def __str__(self) -> str:
        return " ".join(map(str, self.heads))

    def __repr__(self) -> str:
        return f"HeadSet({len(self)} heads: {self.top(8)}{' …' if len(self) > 8 else ''})"

    def __and__(self, other: Any) -> "HeadSet":
        other = _head_set(other)
        return self._from(other, [head for head in self if head in other])

    def __or__(self, other: Any) -> "HeadSet":
        other = _head_set(other)
        return self._from(other, [*self, *(head for head in other if head not in self)])

    def __sub__(self, other: Any) -> "HeadSet":
        other = _head_set(other)
        return self._from(other, [head for head in self if head not in other])

    def __xor__(self, other: Any) -> "HeadSet":
        other = _head_set(other)
        return (self - other) | (other - self)

    def __rand__(self, other: Any) -> "HeadSet":
        # the operators of `Set` would lose the example ids
        raise InputError(f"put the HeadSet first, or wrap the other in HeadSet(...): {other!r}")

    def __ror__(self, other: Any) -> "HeadSet":
        return self.__rand__(other)

    def __rsub__(self, other: Any) -> "HeadSet":
        return self.__rand__(other)

    def __rxor__(self, other: Any) -> "HeadSet":
        return self.__rand__(other)

    def _from(self, other: Any, heads: list[Head]) -> "HeadSet":
        ids = (*self.example_ids, *getattr(other, "example_ids", ()))
        known = dict(zip(self.heads, self.scores or (), strict=False))
        scores = [known[head] for head in heads] if known.keys() >= set(heads) and known else None
        return HeadSet(heads, scores, example_ids=ids, provenance=self.provenance)

    def top(self, k: int) -> "HeadSet":
        """The first `k` heads, or all where there are fewer."""
        if k < 0:
            raise InputError(f"k must not be negative; got {k}")
        scores = None if self.scores is None else self.scores[:k]
        ids = self.example_ids
        return HeadSet(self.heads[:k], scores, example_ids=ids, provenance=self.provenance)

    def jaccard(self, other: "HeadSet") -> float:
        """Heads in both over heads in either; 1 for two empty sets."""
        either = len(self._members | other._members)
        return len(self._members & other._members) / either if either else 1.0

    def mask(self, n_layers: int, n_heads: int) -> Bool[Tensor, "layer head"]:
        """True at the heads of the set.

        Raises:
            InputError: A head lies outside.
        """
        self.require_within(n_layers, n_heads)
        mask = torch.zeros(n_layers, n_heads, dtype=torch.bool)
        for layer, head in self.heads:
            mask[layer, head] = True
        return mask

    @classmethod
    def from_mask(cls, mask: Bool[Tensor, "layer head"]) -> "HeadSet":
        """The heads where `mask` is true, by layer and head."""
        return cls(mask.nonzero().tolist())

    def require_within(self, n_layers: int, n_heads: int) -> None:
        """Refuse heads that a model does not have.

        Raises:
            InputError: With the first of them.
        """
        for head in self.heads:
            if head.layer >= n_layers or head.head >= n_heads:
                raise InputError(
                    f"head {head} is out of range: the model has layers 0..{n_layers - 1} and "
                    f"heads 0..{n_heads - 1}"
                )

    def require_unseen(self, example_ids: Iterable[str]) -> None:
        """Refuse to be judged on an example that the set was chosen on, in whatever layout.

        Raises:
            InputError: With the examples in question.
        """
        known = set(map(without_layout, self.example_ids))
        seen = sorted(one for one in _ids(example_ids) if without_layout(one) in known)
        if seen:
            raise InputError(
                f"this head set was chosen on example {seen[0]!r} ({len(seen)} in all), or on "
                f"another layout of it, so it must not be judged on it; take other examples, or "
                f"pass allow_overlap=True"
            )

    def save(self, path: str | Path) -> Path:
        """Write the set as JSON, atomically, and return the path.

        Raises:
            OSError: The file cannot be written; an older file stays as it was.
        """
        return save_json(path, "head_set", self.as_json())

    @classmethod
    def load(cls, path: str | Path) -> "HeadSet":
        """Read a set written by `save`.

        Raises:
            FileFormatError: The file is damaged, or of another kind.
        """
        return cls.from_json(load_json(path, "head_set"))

    def as_json(self) -> dict[str, Any]:
        """The set as JSON types."""
        return {
            "heads": [list(head) for head in self.heads],
            "scores": None if self.scores is None else list(self.scores),
            "example_ids": list(self.example_ids),
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, content: Any) -> "HeadSet":
        """The set of `as_json`.

        Raises:
            FileFormatError: Something else.
        """
        try:
            rest = {name: content[name] for name in ("example_ids", "provenance")}
            return cls(content["heads"], content["scores"], **rest)
        except (KeyError, TypeError, AttributeError, InputError) as error:
            raise FileFormatError(f"this is no head set: {error!r}") from error


def _head(value: Any) -> Head:
    if isinstance(value, str):
        return Head.parse(value)
    try:
        layer, head = value.tolist() if hasattr(value, "tolist") else value
        found = Head(index(layer), index(head))
    except (TypeError, ValueError) as error:
        raise InputError(f"a head is a pair (layer, head), not {value!r}") from error
    if min(found) < 0 or isinstance(layer, bool) or isinstance(head, bool):
        raise InputError(f"layer and head are whole numbers from 0, not {value!r}")
    return found


def _head_set(value: Any) -> HeadSet:
    return value if isinstance(value, HeadSet) else HeadSet(value)


def _scores(values: Iterable[Any]) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise InputError(f"scores are numbers, one a head: {error}") from error


def _ids(values: Iterable[str]) -> set[str]:
    if isinstance(values, str):  # its characters would match no example
        raise InputError(f"example ids are a list of texts, not the text {values!r}")
    return set(values)
