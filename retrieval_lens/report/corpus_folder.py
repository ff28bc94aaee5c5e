"""A corpus, opened to be reported.

1. Every trace is read once; its scores are kept, not its hidden states.
2. Static heads are ranked on every other example (question, where there are questions) and judged
   on the rest, so that none is judged on what it was chosen on.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrieval_lens.analysis import StepSets, step_sets
from retrieval_lens.analysis.drawing import unit_of
from retrieval_lens.corpora import Corpus
from retrieval_lens.errors import InputError
from retrieval_lens.heads import HeadSet, static_heads
from retrieval_lens.progress import progress_bar
from retrieval_lens.report.parts import counted, sent
from retrieval_lens.tracing import Trace

SCORES = ("copy_paste", "reasoning")  # the paper's; variants of them are left out


@dataclass(frozen=True, eq=False)
class CorpusFolder:
    """A corpus, and its traces without what takes space.

    Attributes:
        corpus: On disk.
        traces: Scores and texts of all of them, in order.
    """

    corpus: Corpus
    traces: list[Trace]

    @property
    def lead(self) -> str:
        """One line: model, responses, steps."""
        model = self.corpus.manifest["configuration"]["model"]["name"]
        n_steps = sum(one.n_steps for one in self.traces)
        return (
            f"{sent(model)} · {counted(len(self.traces), 'response')} · {counted(n_steps, 'step')}"
        )

    @property
    def scores(self) -> list[str]:
        """The scores that are reported."""
        names = list(self.traces[0].scores)
        return [one for one in SCORES if one in names] or names[:1]


def open_corpus(path: Path, progress: bool = True) -> CorpusFolder:
    """Read a corpus.

    Raises:
        InputError: There is none, or no trace in it yet.
        FileFormatError: The manifest or a trace is damaged.
    """
    corpus = Corpus.open(path)
    if not len(corpus):
        raise InputError(f"the corpus in {path} has no trace yet; run `collect` again")
    traces = []
    with progress_bar("reading traces", len(corpus), progress) as advance:
        for trace in corpus:
            traces.append(_thin(trace))
            advance()
    return CorpusFolder(corpus, traces)


def _thin(trace: Trace) -> Trace:
    """Without hidden states, observations and positions, which take most of the space."""
    tops = {
        name: getattr(trace, name)[..., :0].clone() for name in ("top_positions", "top_weights")
    }
    return replace(trace, hiddens={}, observed={}, channels={}, **tops)


def example_of(trace: Trace) -> dict[str, Any]:
    """What a trace recorded of its prompt."""
    return dict(trace.provenance.get("example") or {})


def sets_of(opened: CorpusFolder, score: str) -> list[StepSets]:
    """The active heads of all responses."""
    return [step_sets(trace, score) for trace in opened.traces]


def ranked(opened: CorpusFolder, score: str) -> tuple[HeadSet | None, list[StepSets] | None]:
    """All heads by every other example, and the rest of the responses; None with one example."""
    sets = sets_of(opened, score)
    units = list(dict.fromkeys(map(unit_of, sets)))
    chosen = set(units[::2])
    if len(units) < 2:
        return None, None
    both = list(zip(opened.traces, sets, strict=True))
    static = static_heads([trace for trace, one in both if unit_of(one) in chosen], None, score)
    return static, [one for _, one in both if unit_of(one) not in chosen]
