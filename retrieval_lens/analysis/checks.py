"""What the statistics accept: one finite number an example, settings that give an interval."""

from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float

from retrieval_lens.errors import InputError, NumericalError


def sample(values: Any, name: str) -> Float[np.ndarray, " _"]:
    """One finite number an example, or a refusal that says what came.

    Raises:
        InputError: Not a row of numbers, or an empty one.
        NumericalError: A value is NaN or infinite.
    """
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: wanted one number an example, received {values!r}") from error
    if numbers.ndim != 1 or not len(numbers):
        raise InputError(f"{name}: wanted one number an example, received shape {numbers.shape}")
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise NumericalError(
            f"{name}: value {bad[0]} is {numbers[bad[0]]} ({len(bad)} such values); leave out the "
            "examples without a value, and say how many they were"
        )
    return numbers


def pairs(a: Any, b: Any) -> tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]:
    """Two samples of the same examples.

    Raises:
        InputError: Different lengths, or no number an example.
        NumericalError: A value is NaN or infinite.
    """
    first, second = sample(a, "a"), sample(b, "b")
    if len(first) != len(second):
        raise InputError(f"pairs need equal lengths; got {len(first)} and {len(second)} values")
    return first, second


def require_settings(n_resamples: Any, confidence: Any, seed: Any = 0) -> None:
    """Refuse settings that give no interval.

    Raises:
        InputError: One of them is out of range.
    """
    for name, value, least in (("n_resamples", n_resamples, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be a whole number from {least}; got {value!r}")
    if not (isinstance(confidence, float) and isfinite(confidence) and 0 < confidence < 1):
        raise InputError(f"confidence must lie between 0 and 1; got {confidence!r}")
