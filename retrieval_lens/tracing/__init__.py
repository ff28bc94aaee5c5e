"""Run a model and keep what every head did at every decode step."""

from retrieval_lens.tracing.pass_recorder import PassRecorder
from retrieval_lens.tracing.prefix import Prefix, prefill_prefix
from retrieval_lens.tracing.trace import Trace
from retrieval_lens.tracing.tracer import RetrievalTracer
from retrieval_lens.tracing.visible import VisibleResponse, VisibleSession, VisibleStep

__all__ = [
    "PassRecorder",
    "Prefix",
    "RetrievalTracer",
    "Trace",
    "VisibleResponse",
    "VisibleSession",
    "VisibleStep",
    "prefill_prefix",
]
