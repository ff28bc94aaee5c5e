"""The command line: `retrieval-lens trace`, `detect`, `ablate`, `grid`, `demo`."""

from retrieval_lens.cli.app import main

__all__ = ["main"]
