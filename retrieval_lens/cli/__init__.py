"""The command line: `retrieval-lens trace`, `retrieval-lens demo`."""

from retrieval_lens.cli.app import main

__all__ = ["main"]
