"""Prompts whose evidence is known: needle in a haystack, and any text of yours."""

from retrieval_lens.tasks import hotpotqa
from retrieval_lens.tasks.example import RetrievalExample
from retrieval_lens.tasks.haystacks import NAMES as HAYSTACKS
from retrieval_lens.tasks.hotpotqa import Dropped, Questions
from retrieval_lens.tasks.metrics import response_metrics
from retrieval_lens.tasks.multihop_readers import READERS, Question, Reader, register_reader
from retrieval_lens.tasks.needle import needle_example
from retrieval_lens.tasks.needle_formats import (
    NEEDLE_FORMATS,
    NeedleFormat,
    needle_format,
    register_needle_format,
)
from retrieval_lens.tasks.needle_sets import needle_examples
from retrieval_lens.tasks.outcomes import OUTCOMES, response_outcome
from retrieval_lens.tasks.qa_metrics import (
    exact_match,
    extract_answer,
    f1,
    normalize_answer,
    precision_recall,
)
from retrieval_lens.tasks.token_spans import find_span, positions_of, tokenize

__all__ = [
    "HAYSTACKS",
    "NEEDLE_FORMATS",
    "OUTCOMES",
    "READERS",
    "Dropped",
    "NeedleFormat",
    "Question",
    "Questions",
    "Reader",
    "RetrievalExample",
    "exact_match",
    "extract_answer",
    "f1",
    "find_span",
    "hotpotqa",
    "needle_example",
    "needle_examples",
    "needle_format",
    "normalize_answer",
    "positions_of",
    "precision_recall",
    "register_needle_format",
    "register_reader",
    "response_metrics",
    "response_outcome",
    "tokenize",
]
