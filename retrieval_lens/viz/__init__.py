"""Figures of retrieval heads: arrays and tokens in, a figure out.

Nothing is run, written to a file or shown.
"""

from retrieval_lens.viz.attention import attention
from retrieval_lens.viz.head_map import head_map
from retrieval_lens.viz.page import page
from retrieval_lens.viz.timeline import timeline

__all__ = ["attention", "head_map", "page", "timeline"]
