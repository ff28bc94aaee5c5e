"""Traces of many examples as one dataset on disk."""

from retrieval_lens.corpora.collecting import collect
from retrieval_lens.corpora.corpus import Corpus

__all__ = ["Corpus", "collect"]
