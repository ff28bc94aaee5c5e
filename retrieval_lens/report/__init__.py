"""A results folder as one page: what was run, what came out, beside what the paper printed."""

from retrieval_lens.report.document import report

__all__ = ["report"]
