"""Run a model and keep what every head did at every decode step."""

from retrieval_lens.tracing.pass_recorder import PassRecorder
from retrieval_lens.tracing.trace import Trace
from retrieval_lens.tracing.tracer import RetrievalTracer

__all__ = ["PassRecorder", "RetrievalTracer", "Trace"]
