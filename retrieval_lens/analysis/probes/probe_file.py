"""A probe as one safetensors file: weights and baselines as tensors, the rest in the header."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from retrieval_lens.analysis.probes.baselines import Baselines
from retrieval_lens.analysis.probes.probe import Probe
from retrieval_lens.analysis.probes.report import ProbeReport
from retrieval_lens.analysis.probes.settings import ProbeSettings
from retrieval_lens.analysis.probes.training import mlp
from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.files import load_tensors, save_tensors

KIND = "probe"
IDS = ("train_ids", "validation_ids", "test_ids")
FRAMES = ("metrics", "per_head", "calibration")


def save_probe(probe: Probe, path: Path) -> Path:
    """Write `probe` to `path`."""
    tensors = {f"network/{name}": value for name, value in probe.network.state_dict().items()}
    tensors |= {f"baselines/{name}": value for name, value in probe.baselines.as_tensors().items()}
    report = probe.report
    content = {
        "settings": probe.settings.as_json(),
        "d_model": probe.d_model,
        "shape": list(probe.shape),
        "thresholds": dict(probe.thresholds),
        **{name: list(getattr(probe, name)) for name in IDS},
        "history": _frame_as_json(probe.history),
        "report": None if report is None else _report_as_json(report),
        "provenance": dict(probe.provenance),
    }
    return save_tensors(path, KIND, tensors, content)


def load_probe(path: Path) -> Probe:
    """Read a probe from `path`."""
    tensors, content = load_tensors(path, KIND)
    try:
        parts: dict[str, dict[str, Any]] = {"network": {}, "baselines": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            parts[group][rest] = tensor
        # the device that it was trained on may not be here
        settings = ProbeSettings(**{**content["settings"], "device": "cpu"})
        layers, heads = content["shape"]
        with torch.device("meta"):
            network = mlp(content["d_model"], layers * heads, settings)
        network.load_state_dict(parts["network"], assign=True)
        report = content["report"]
        return Probe(
            network=network.eval().requires_grad_(False),
            settings=replace(settings, device="cpu"),
            shape=(layers, heads),
            baselines=Baselines(**parts["baselines"]),
            thresholds=content["thresholds"],
            **{name: tuple(content[name]) for name in IDS},
            history=_frame(content["history"]),
            report=None if report is None else _report(report),
            provenance=content["provenance"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError, InputError) as error:
        raise FileFormatError(f"{path} lacks a part of a probe: {error!r}") from error


def _report_as_json(report: ProbeReport) -> dict[str, Any]:
    frames = {name: _frame_as_json(getattr(report, name)) for name in FRAMES}
    counts = {"n_pairs": report.n_pairs, "n_non_empty": report.n_non_empty}
    return {**frames, **counts, "example_ids": list(report.example_ids)}


def _report(content: dict[str, Any]) -> ProbeReport:
    frames = {name: _frame(content[name]) for name in FRAMES}
    rest = {name: content[name] for name in ("n_pairs", "n_non_empty")}
    return ProbeReport(**frames, **rest, example_ids=tuple(content["example_ids"]))


def _frame_as_json(frame: pd.DataFrame) -> list[list[Any]]:
    """Name, type and values of each column, null for NaN."""
    whole = frame.astype(object).where(frame.notna(), None)
    return [[name, str(frame[name].dtype), whole[name].tolist()] for name in frame.columns]


def _frame(columns: list[list[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype=kind) for name, kind, values in columns})
