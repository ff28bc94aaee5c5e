"""One line of what `retrieval-lens doctor` says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        section: What it belongs to.
        name: What was looked at.
        found: What is there.
        problem: What is wrong and what to do; "" where nothing is.
        stops: Whether the problem stops a trace.
    """

    section: str
    name: str
    found: str
    problem: str = ""
    stops: bool = False
