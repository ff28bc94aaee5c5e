"""Every choice that a probe is trained with, checked before anything runs.

The defaults are the paper's, but for the split (by example instead of by step), and for the widths
on a CPU, where the paper's would take hours.

Source: section 3.4 and Appendix A.5, https://arxiv.org/abs/2602.11162
"""

from dataclasses import asdict, dataclass
from math import isclose, isfinite
from typing import Any

import torch

from retrieval_lens.analysis.probes.loss import REDUCTIONS
from retrieval_lens.errors import InputError, UnknownNameError

KINDS = ("classifier", "regressor")
SPLITS = ("example", "step")
PAPER_WIDTHS, CPU_WIDTHS = (8192, 4096, 4096), (512, 256, 256)
# name: (least, whether it may be that, below, whole number)
RANGES: dict[str, tuple[int, bool, int | None, bool]] = {
    "offset": (0, True, None, True),
    "dropout": (0, True, 1, False),
    "epochs": (1, True, None, True),
    "batch_size": (1, True, None, True),
    "learning_rate": (0, False, None, False),
    "patience": (0, True, None, True),
    "clip_norm": (0, False, None, False),
    "gamma_neg": (0, True, None, False),
    "gamma_pos": (0, True, None, False),
    "clip": (0, True, 1, False),
    "seed": (0, True, None, True),
}


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is made; the fields are the arguments of `train_probe`.

    Raises:
        InputError: A number out of range, or a device that is not here.
        UnknownNameError: No such kind, split or reduction.
    """

    kind: Any = "classifier"
    offset: Any = 0
    widths: Any = None
    dropout: Any = 0.1
    epochs: Any = 100
    batch_size: Any = 128
    learning_rate: Any = 3e-4
    patience: Any = 3
    clip_norm: Any = 1.0
    gamma_neg: Any = 4
    gamma_pos: Any = 1
    clip: Any = 0.05
    reduction: Any = "mean"
    split: Any = "example"
    shares: Any = (0.7, 0.2, 0.1)
    early_stopping: Any = None
    seed: Any = 0
    device: Any = None
    permuted_labels: bool = False

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("split", SPLITS), ("reduction", REDUCTIONS)):
            if (value := getattr(self, name)) not in known:
                raise UnknownNameError(f"no {name} {value!r}; wanted one of {', '.join(known)}")
        for name, range_ in RANGES.items():
            _require(name, getattr(self, name), *range_)
        if self.early_stopping is not None:
            _require("early_stopping", self.early_stopping, 1, True, None, True)
        device = _device(self.device)
        widths = self.widths
        if widths is None:
            widths = CPU_WIDTHS if device.type == "cpu" else PAPER_WIDTHS
        fixed = {"device": str(device), "widths": _widths(widths), "shares": _shares(self.shares)}
        for name, value in fixed.items():
            object.__setattr__(self, name, value)

    @property
    def classifies(self) -> bool:
        """Whether the targets are labels."""
        return self.kind == "classifier"

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        found = asdict(self)
        return found | {"widths": list(self.widths), "shares": list(self.shares)}


def _require(
    name: str, value: Any, least: int, reached: bool, below: int | None, whole: bool
) -> None:
    kinds = int if whole else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool) and isfinite(value)
    if fits and (value > least or (reached and value == least)) and (not below or value < below):
        return
    wanted = f"a {'whole ' if whole else ''}number {'from' if reached else 'above'} {least}"
    wanted += f" and below {below}" if below else ""
    raise InputError(f"{name} must be {wanted}; got {value!r}")


def _device(device: Any) -> torch.device:
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, TypeError) as error:
        raise InputError(f"no device {device!r}: {error}") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device={device!r}, but there is no GPU here; take device='cpu'")
    return found


def _widths(widths: Any) -> tuple[int, ...]:
    if isinstance(widths, str) or not hasattr(widths, "__iter__"):
        raise InputError(f"widths must be a list of whole numbers, one a hidden layer; {widths!r}")
    found = tuple(widths)
    for width in found:
        _require("each of the widths", width, 1, True, None, True)
    return found


def _shares(shares: Any) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(share) for share in shares)
    except (TypeError, ValueError) as error:
        raise InputError(f"shares must be three numbers (train, ...); got {shares!r}") from error
    total = train + validation + test
    if not isclose(total, 1, abs_tol=1e-6) or not min(train, validation, test) > 0:
        raise InputError(
            "shares of training, validation and test must be above 0 and add up to 1; "
            f"got {shares!r}"
        )
    return train, validation, test
