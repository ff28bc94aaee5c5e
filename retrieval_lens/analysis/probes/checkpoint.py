"""A training run on disk, so that a killed one goes on and ends with the same weights.

1. After an epoch, weights, best weights, Adam's moments and the states of the random generators are
   written as tensors, the rest (learning rate, scheduler, losses so far) as JSON, in one step: a
   crash leaves the old state or the new one.
2. Writing takes at most about a tenth of the time: with large networks some epochs are not written.
3. A state belongs to one configuration and one set of data; another one is refused.
4. The file is deleted when the training is done.
"""

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.files import load_tensors, save_tensors

KIND = "probe_training"
SHARE = 10  # training time over writing time, at least


@dataclass
class Run:
    """A training run as it goes.

    Attributes:
        network: The probe.
        optimizer: Adam.
        scheduler: Of the learning rate.
        history: One row an epoch.
        best: Weights of the epoch with the lowest validation loss, if they are kept.
        best_epoch: Which one that was; 0 before the first.
    """

    network: nn.Module
    optimizer: torch.optim.Adam
    scheduler: torch.optim.lr_scheduler.ReduceLROnPlateau
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0


class Checkpoint:
    """Where a run is kept, if anywhere.

    Args:
        path: The file, or None for nowhere.
        settings: The configuration, JSON-able.
        data: What it is trained on.
    """

    def __init__(self, path: str | Path | None, settings: dict[str, Any], data: list[Tensor]):
        self.path: Path | None = None if path is None else Path(path)
        self.key: str = "" if path is None else _fingerprint(settings, data)
        self.due: float = 0.0

    def save(self, run: Run) -> None:
        """Write the state, unless that was done a moment ago."""
        started = time.monotonic()
        if self.path is None or started < self.due:
            return
        groups = {"network": run.network.state_dict(), "best": run.best, "rng": _rng_states()}
        for i, moments in run.optimizer.state_dict()["state"].items():
            groups[f"adam.{i}"] = moments
        tensors = {
            f"{name}/{k}": value for name, part in groups.items() for k, value in part.items()
        }
        content = {
            "key": self.key,
            "history": run.history,
            "best_epoch": run.best_epoch,
            "learning_rates": [group["lr"] for group in run.optimizer.param_groups],
            # infinities, such as the best loss before the first epoch, are no JSON
            "scheduler": json.dumps(run.scheduler.state_dict()),
        }
        save_tensors(self.path, KIND, tensors, content)
        ended = time.monotonic()
        self.due = ended + SHARE * (ended - started)

    def restore(self, run: Run) -> None:
        """Put a run back to where it was, if there is a state.

        Raises:
            InputError: The state is of another configuration or other data.
            FileFormatError: The file is damaged, or something else.
        """
        if self.path is None or not self.path.exists():
            return
        tensors, content = load_tensors(self.path, KIND)
        if content["key"] != self.key:
            raise InputError(
                f"{self.path} is the state of a training with other settings or data; delete it, "
                "or pass another checkpoint="
            )
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = tensor
        try:
            run.network.load_state_dict(groups["network"])
            _restore_adam(run.optimizer, groups, content["learning_rates"])
            run.scheduler.load_state_dict(json.loads(content["scheduler"]))
            run.history, run.best_epoch = content["history"], content["best_epoch"]
            run.best = groups.get("best", {})
            _set_rng_states(groups["rng"])
        except (KeyError, RuntimeError, TypeError) as error:
            raise FileFormatError(f"{self.path} lacks a part of a training: {error!r}") from error

    def done(self) -> None:
        """Delete the state."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _restore_adam(
    optimizer: torch.optim.Adam, groups: dict[str, dict[str, Tensor]], rates: list[float]
) -> None:
    state = {int(name[5:]): part for name, part in groups.items() if name.startswith("adam.")}
    param_groups = optimizer.state_dict()["param_groups"]
    for group, rate in zip(param_groups, rates, strict=True):
        group["lr"] = rate
    optimizer.load_state_dict({"state": state, "param_groups": param_groups})


def _rng_states() -> dict[str, Tensor]:
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), **{f"gpu.{i}": state for i, state in enumerate(gpus)}}


def _set_rng_states(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    for i in range(torch.cuda.device_count()):
        torch.cuda.set_rng_state(states[f"gpu.{i}"], i)


def _fingerprint(settings: dict[str, Any], data: list[Tensor]) -> str:
    digest = hashlib.sha256(json.dumps([settings, torch.__version__], sort_keys=True).encode())
    for tensor in data:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
