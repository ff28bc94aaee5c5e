"""Strategies: what is shown of the context when a draft had a hit.

| strategy | shows |
|---|---|
| `Dynamic` | where the heads look that a probe predicts |
| `Static` | where the first heads of a ranking look |
| `DynamicRandom` | where random heads look, new ones each time |
| `FixedRandom` | where random heads look, the same ones for an answer |
| `NoContext` | nothing |
| `OracleDynamic` | where the heads look that score highest on the evidence |
| `FullContext` | everything, all the time |
| `GoldSpans` | the evidence |
| `BM25` | the sentences most like question and answer, as many tokens as another strategy |
| `RandomWindows` | windows anywhere, as long as those of another strategy |
"""

from retrieval_lens.rag.strategies.base import (
    STRATEGIES,
    Request,
    Retrieved,
    Strategy,
    register_strategy,
    strategy_named,
)
from retrieval_lens.rag.strategies.bm25 import BM25
from retrieval_lens.rag.strategies.dynamic import Dynamic
from retrieval_lens.rag.strategies.dynamic_random import DynamicRandom
from retrieval_lens.rag.strategies.fixed_random import FixedRandom
from retrieval_lens.rag.strategies.full_context import FullContext
from retrieval_lens.rag.strategies.gold_spans import GoldSpans
from retrieval_lens.rag.strategies.no_context import NoContext
from retrieval_lens.rag.strategies.oracle_dynamic import OracleDynamic
from retrieval_lens.rag.strategies.random_windows import RandomWindows
from retrieval_lens.rag.strategies.static import Static

__all__ = [
    "BM25",
    "STRATEGIES",
    "Dynamic",
    "DynamicRandom",
    "FixedRandom",
    "FullContext",
    "GoldSpans",
    "NoContext",
    "OracleDynamic",
    "RandomWindows",
    "Request",
    "Retrieved",
    "Static",
    "Strategy",
    "register_strategy",
    "strategy_named",
]
