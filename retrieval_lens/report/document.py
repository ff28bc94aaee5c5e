"""The page of a results folder.

1. The folder says what it is: a grid by its manifest, a corpus by its own.
2. What is damaged or foreign is refused; a grid that is half done is reported as such.
3. Sections come one after the other (`needles`, `questions`, `answers`, `corpus`), each a list of
   parts, and `viz.page` makes one document of them that reads without a network.

A folder of another kind is one file with sections, and one entry in `KINDS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval_lens import viz
from retrieval_lens.corpora.corpus import MANIFEST as CORPUS
from retrieval_lens.errors import InputError, UnknownNameError
from retrieval_lens.experiments.store import MANIFEST as GRID
from retrieval_lens.experiments.store import open_folder
from retrieval_lens.progress import progress_bar
from retrieval_lens.report import answers, corpus, needles, questions
from retrieval_lens.report.corpus_folder import open_corpus
from retrieval_lens.report.grid_folder import open_grid
from retrieval_lens.report.parts import Part
from retrieval_lens.report.style import CSS

Section = Callable[[Any], list[Part]]


@dataclass(frozen=True)
class Kind:
    """A kind of folder.

    Attributes:
        title: Of its page.
        sections: In order; each returns its parts.
        slow: Sections that are made when they are asked for.
    """

    title: str
    sections: tuple[Section, ...]
    slow: tuple[Section, ...] = ()


KINDS = {
    "needle": Kind(needles.TITLE, needles.SECTIONS),
    "questions": Kind(questions.TITLE, questions.SECTIONS),
    "rag": Kind(answers.TITLE, answers.SECTIONS),
    "corpus": Kind(corpus.TITLE, corpus.SECTIONS, corpus.SLOW),
}


def report(
    folder: str | Path, *, title: str | None = None, cca: bool = False, progress: bool = True
) -> str:
    """A results folder as one HTML document that reads without a network.

    What was run, with weights, versions and conventions; tables beside those that the paper
    printed, where there are any; figures; verdicts computed from the intervals; and what to
    run to make it again.

    Args:
        folder: Where a grid was run, finished or not, or a corpus was collected.
        title: Of the page, plain text; by default it says what kind of folder it is.
        cca: Add the canonical correlations of a corpus (Fig. 4), which take minutes.
        progress: Show a progress bar where it takes more than two seconds.

    Returns:
        HTML; save it with UTF-8 encoding. Names, questions and responses are escaped.

    Raises:
        InputError: No folder, no results in it, or `cca` of what is no corpus.
        UnknownNameError: A grid of a task that has no report.
        FileFormatError: A damaged manifest, cell or trace.

    Examples:
        ```python
        rl.collect(model, [example], "reported", max_new_tokens=4)
        from retrieval_lens.report import report

        page = report("reported", title="One needle")
        ```
    """
    path = Path(folder)
    name = _kind_of(path)
    kind = KINDS[name]
    if cca and not kind.slow:
        raise InputError(f"{path} holds a grid; canonical correlations are of a corpus (`collect`)")
    opened = open_corpus(path, progress) if name == "corpus" else open_grid(path)
    parts: list[Part] = []
    sections = (*kind.sections, *(kind.slow if cca else ()))
    with progress_bar("writing the report", len(sections), progress) as advance:
        for section in sections:
            parts += section(opened)
            advance()
    document = viz.page(title or kind.title, parts, subtitle=opened.lead)
    return document.replace("</style>", f"{CSS}</style>", 1)


def _kind_of(path: Path) -> str:
    """Which of `KINDS` a folder is."""
    if not path.is_dir():
        raise InputError(f"{path} is {'a file' if path.exists() else 'not there'}; wanted a folder")
    if (path / CORPUS).exists():
        return "corpus"
    if not (path / GRID).exists():
        raise InputError(
            f"{path} holds no results: there is neither {GRID} (of `grid run` and `rag evaluate`) "
            f"nor {CORPUS} (of `collect`) in it"
        )
    task = open_folder(path).grid.task
    if task not in KINDS:
        raise UnknownNameError(f"no report of the task {task!r}; known: {', '.join(KINDS)}")
    return task
