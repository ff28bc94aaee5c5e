"""Figures of retrieval heads: arrays and tokens in, a figure out.

Nothing is run or shown; `save_html` alone writes a file.
"""

from retrieval_lens.viz.attention import attention
from retrieval_lens.viz.curves import curves
from retrieval_lens.viz.dynamism import dynamism
from retrieval_lens.viz.explorer import explore
from retrieval_lens.viz.grid import grid
from retrieval_lens.viz.head_map import head_map
from retrieval_lens.viz.overlap import overlap
from retrieval_lens.viz.page import page
from retrieval_lens.viz.prediction import prediction
from retrieval_lens.viz.revealed import revealed
from retrieval_lens.viz.save_html import save_html
from retrieval_lens.viz.timeline import timeline
from retrieval_lens.viz.trail import trail
from retrieval_lens.viz.unique_heads import unique_heads

__all__ = [
    "attention",
    "curves",
    "dynamism",
    "explore",
    "grid",
    "head_map",
    "overlap",
    "page",
    "prediction",
    "revealed",
    "save_html",
    "timeline",
    "trail",
    "unique_heads",
]
