"""Modes of ablation, by name: a new one is a file here and a line in `MODES`."""

from collections.abc import Callable, Sequence
from typing import Any

from retrieval_lens.ablation.modes.base import AblationMode
from retrieval_lens.ablation.modes.knockout import Knockout
from retrieval_lens.ablation.modes.mean import Mean, mean_z
from retrieval_lens.ablation.modes.uniform import Uniform
from retrieval_lens.ablation.modes.zero import Zero
from retrieval_lens.errors import InputError, UnknownNameError

MODES: dict[str, Callable[[Any, Any], AblationMode]] = {
    "zero": lambda model, reference: Zero(),
    "mean": lambda model, reference: Mean(model, reference),
    "uniform": lambda model, reference: Uniform(),
    "knockout": lambda model, reference: Knockout(),
}

__all__ = ["MODES", "AblationMode", "Knockout", "Mean", "Uniform", "Zero", "make_mode", "mean_z"]


def make_mode(model: Any, mode: Any, reference: Sequence[Any] | None) -> AblationMode:
    """The mode of that name, or a mode of one's own as it is.

    Raises:
        UnknownNameError: No such mode.
        InputError: `reference` where nothing uses it, or none where it is needed.
    """
    if not isinstance(mode, AblationMode):
        if mode not in MODES:
            raise UnknownNameError(f"no mode {mode!r}; known: {', '.join(MODES)}")
        if reference is not None and mode != "mean":
            raise InputError(f"mode {mode!r} uses no reference; it is for mode='mean'")
        return MODES[mode](model, reference)
    return mode
