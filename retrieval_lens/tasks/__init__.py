"""Prompts whose evidence is known: needle in a haystack, and any text of yours."""

from retrieval_lens.tasks.example import RetrievalExample
from retrieval_lens.tasks.haystacks import NAMES as HAYSTACKS
from retrieval_lens.tasks.metrics import response_metrics
from retrieval_lens.tasks.needle import needle_example
from retrieval_lens.tasks.needle_formats import (
    NEEDLE_FORMATS,
    NeedleFormat,
    needle_format,
    register_needle_format,
)
from retrieval_lens.tasks.needle_sets import needle_examples
from retrieval_lens.tasks.outcomes import OUTCOMES, response_outcome
from retrieval_lens.tasks.token_spans import find_span, positions_of, tokenize

__all__ = [
    "HAYSTACKS",
    "NEEDLE_FORMATS",
    "OUTCOMES",
    "NeedleFormat",
    "RetrievalExample",
    "find_span",
    "needle_example",
    "needle_examples",
    "needle_format",
    "positions_of",
    "register_needle_format",
    "response_metrics",
    "response_outcome",
    "tokenize",
]
