"""Dynamic RAG (section 5 of arXiv 2602.11162): hidden context, revealed where heads look."""

from retrieval_lens.rag.answer import Answer, Round
from retrieval_lens.rag.answering import answer, answer_many
from retrieval_lens.rag.budget import bm25_spans, random_spans
from retrieval_lens.rag.calibration import Calibration, calibrate_threshold
from retrieval_lens.rag.context import PromptContext, context_of
from retrieval_lens.rag.pipeline import run
from retrieval_lens.rag.reader import Draft, Look, ModelReader, Reader
from retrieval_lens.rag.rind import RIND, entropy_of, first_hit
from retrieval_lens.rag.sentences import sentence_spans
from retrieval_lens.rag.settings import Settings
from retrieval_lens.rag.strategies import (
    BM25,
    STRATEGIES,
    Dynamic,
    DynamicRandom,
    FixedRandom,
    FullContext,
    GoldSpans,
    NoContext,
    OracleDynamic,
    RandomWindows,
    Request,
    Retrieved,
    Static,
    Strategy,
    register_strategy,
    strategy_named,
)
from retrieval_lens.rag.windows import (
    Windows,
    clusters,
    merged,
    representative,
    reveal,
    top_positions,
    window,
)
from retrieval_lens.rag.words import Word, word_spans

__all__ = [
    "BM25",
    "RIND",
    "STRATEGIES",
    "Answer",
    "Calibration",
    "Draft",
    "Dynamic",
    "DynamicRandom",
    "FixedRandom",
    "FullContext",
    "GoldSpans",
    "Look",
    "ModelReader",
    "NoContext",
    "OracleDynamic",
    "PromptContext",
    "RandomWindows",
    "Reader",
    "Request",
    "Retrieved",
    "Round",
    "Settings",
    "Static",
    "Strategy",
    "Windows",
    "Word",
    "answer",
    "answer_many",
    "bm25_spans",
    "calibrate_threshold",
    "clusters",
    "context_of",
    "entropy_of",
    "first_hit",
    "merged",
    "random_spans",
    "register_strategy",
    "representative",
    "reveal",
    "run",
    "sentence_spans",
    "strategy_named",
    "top_positions",
    "window",
    "word_spans",
]
