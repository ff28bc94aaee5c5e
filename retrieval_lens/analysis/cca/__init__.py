"""Canonical correlations between hidden states and the retrieval scores of later steps."""

from retrieval_lens.analysis.cca.canonical import CanonicalCorrelation
from retrieval_lens.analysis.cca.offsets import offset_cca

__all__ = ["CanonicalCorrelation", "offset_cca"]
