"""The explorer: a trace that can be walked through, in a notebook or as a page of its own."""

from retrieval_lens.viz.explorer.explore import explore

__all__ = ["explore"]
