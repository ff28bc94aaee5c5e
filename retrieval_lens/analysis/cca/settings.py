"""What `offset_cca` is told, checked once."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from retrieval_lens.analysis.checks import require_settings
from retrieval_lens.errors import InputError


@dataclass(frozen=True)
class CcaSettings:
    """Parameters of `offset_cca`, under the same names.

    Raises:
        InputError: One of them is out of range.
    """

    offsets: tuple[int, ...]
    n_components: Any
    hidden_variance: Any
    score_variance: Any
    test_share: Any
    n_nulls: Any
    min_count: Any
    n_resamples: Any
    confidence: Any
    seed: Any

    def __post_init__(self) -> None:
        require_settings(self.n_resamples, self.confidence, self.seed)
        for name, least in (("n_components", 1), ("n_nulls", 0), ("min_count", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number from {least}; got {value!r}")
        for name in ("hidden_variance", "score_variance", "test_share"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, float | int) or not isfinite(value):
                raise InputError(f"{name} must be a share between 0 and 1; got {value!r}")
            if not 0 < value <= 1 or (name == "test_share" and value == 1):
                raise InputError(f"{name} must be a share between 0 and 1; got {value!r}")

    @property
    def reach(self) -> int:
        """The farthest offset."""
        return self.offsets[-1]


def offsets_of(offsets: Any) -> tuple[int, ...]:
    """Offsets in rising order.

    Raises:
        InputError: None, negative, no whole number, or one twice.
    """
    if not isinstance(offsets, Iterable) or isinstance(offsets, str):
        raise InputError(f"offsets={offsets!r}: wanted several, such as range(0, 11)")
    given = list(offsets)
    for offset in given:
        whole = isinstance(offset, int | np.integer) and not isinstance(offset, bool)
        if not whole or offset < 0:
            raise InputError(f"offset {offset!r}: wanted a whole number of steps from 0")
    found = sorted(int(offset) for offset in given)
    if not found or len(set(found)) < len(found):
        raise InputError(f"offsets={given!r}: wanted at least one, each of them once")
    return tuple(found)
