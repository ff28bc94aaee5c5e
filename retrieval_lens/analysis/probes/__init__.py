"""Probes: which heads retrieve, predicted from the hidden state, beside simpler predictors."""

from retrieval_lens.analysis.probes.baselines import Baselines
from retrieval_lens.analysis.probes.evaluate import evaluate_probe
from retrieval_lens.analysis.probes.loss import asymmetric_loss
from retrieval_lens.analysis.probes.probe import Probe
from retrieval_lens.analysis.probes.report import ProbeReport
from retrieval_lens.analysis.probes.settings import ProbeSettings
from retrieval_lens.analysis.probes.train import train_probe

__all__ = [
    "Baselines",
    "Probe",
    "ProbeReport",
    "ProbeSettings",
    "asymmetric_loss",
    "evaluate_probe",
    "train_probe",
]
