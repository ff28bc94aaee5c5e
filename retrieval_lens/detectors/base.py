"""What a head detector is: one number a head, from a whole corpus of examples.

A step score reads one attention row of one decode step. A detector may read what it likes: whole
traces, other rows of a prefill, two prompts of the same example. It gets the model and the examples
and gives back a `Detection`.

1. A detector of your own is a `HeadDetector` with one method, `detect`.
2. One that can be read off traces is a `TraceDetector` with two: what to trace, and what an example
   adds. It then works on traces that were made before as well. It may also say how many top
   positions it reads, and complete an example with what the tokenizer knows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval_lens.detectors.detection import Detection
from retrieval_lens.errors import InputError
from retrieval_lens.progress import progress_bar
from retrieval_lens.scores import StepScore
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing import RetrievalTracer, Trace
from retrieval_lens.tracing.limits import check_context


class HeadDetector(ABC):
    """Base of all detectors.

    Attributes:
        name: Of the detector; every list carries it.
        threshold: A head counts as found where its score is at least this.
    """

    name: str
    threshold: float | int

    @abstractmethod
    def detect(
        self,
        model: Any,
        examples: Sequence[RetrievalExample],
        *,
        max_new_tokens: int = 64,
        batch_size: int = 8,
        progress: bool = True,
    ) -> Detection:
        """Score every head of `model` on `examples`."""

    def parameters(self) -> dict[str, Any]:
        """Class and parameters, JSON-able, for the record."""
        values = asdict(self) if is_dataclass(self) else dict(vars(self))
        scores = {k: v.parameters() for k, v in vars(self).items() if isinstance(v, StepScore)}
        return {"class": type(self).__name__, "name": self.name, **values, **scores}


@dataclass(frozen=True, eq=False)
class Contribution:
    """What one example adds to the score of every head.

    Attributes:
        total: `[layer, head]`, added up over examples.
        weight: Added up over examples too; totals are divided by it. 0 leaves the example out.
        details: Numbers worth keeping about the example.
    """

    total: Float[Tensor, "layer head"]
    weight: float | int
    details: Mapping[str, float]


class TraceDetector(HeadDetector):
    """Base of the detectors that need nothing but traces of greedy responses."""

    @abstractmethod
    def step_scores(self) -> Sequence[StepScore]:
        """The step scores to trace."""

    @abstractmethod
    def contribution(self, trace: Trace, example: RetrievalExample) -> Contribution:
        """What one traced example adds."""

    def n_top(self, examples: Sequence[RetrievalExample]) -> int:
        """How many of the most attended positions a trace must keep; none by default."""
        return 0

    def prepared(self, example: RetrievalExample, tokenizer: Any) -> RetrievalExample:
        """The example with what `contribution` needs to know; as it is by default.

        Args:
            example: As it came.
            tokenizer: The model's, or None where it is not known.
        """
        return example

    def none_left(self, parts: Sequence[Contribution]) -> str:
        """What the error says where no example has weight."""
        return f"none of {len(parts)} examples counts for the detector {self.name!r}"

    def detect(
        self,
        model: Any,
        examples: Sequence[RetrievalExample],
        *,
        max_new_tokens: int = 64,
        batch_size: int = 8,
        progress: bool = True,
    ) -> Detection:
        """Trace the examples, then `from_traces`.

        Raises:
            InputError: No example, one twice, or none that the detector keeps.
            ContextLengthError: An example does not fit; nothing is run before all are known to.
        """
        check_examples(examples)
        examples = [self.prepared(example, model.tokenizer) for example in examples]
        for example in examples:
            check_context(model, example, max_new_tokens)
        n_top = self.n_top(examples)
        tracer = RetrievalTracer(model, self.step_scores(), hidden_at=(), n_top=n_top)
        # Top positions fill the memory: such traces are read a batch at a time.
        size = max(batch_size, 1) if n_top else len(examples)
        parts: list[Contribution] = []
        traces: list[Trace] = []
        with progress_bar("tracing", len(examples), progress and size < len(examples)) as advance:
            show = progress and size >= len(examples)
            for start in range(0, len(examples), size):
                some = examples[start : start + size]
                traces = tracer.trace_many(some, batch_size, max_new_tokens, progress=show)
                parts += [self.contribution(t, e) for t, e in zip(traces, some, strict=True)]
                advance(len(some))
        return self._detection(parts, examples, traces[0])

    def from_traces(self, traces: Any, examples: Sequence[Any], tokenizer: Any = None) -> Detection:
        """The detection from traces that were made before.

        Args:
            traces: `Trace`s, one an example, in the same order, with the step scores that are
                needed.
            examples: The `RetrievalExample`s that were traced. A trace has the evidence as tokens
                only, and texts put together from single tokens may lack spaces or hold more than
                the evidence.
            tokenizer: The model's; for detectors that count tokens of texts.

        Raises:
            InputError: Traces that do not belong to the examples or are of different models, no
                example, one twice, or none that the detector keeps.
        """
        traces = [traces] if isinstance(traces, Trace) else list(traces)
        check_examples(examples)
        _check_pairs(traces, examples)
        examples = [self.prepared(example, tokenizer) for example in examples]
        parts = [self.contribution(t, e) for t, e in zip(traces, examples, strict=True)]
        return self._detection(parts, examples, traces[0])

    def _detection(
        self, parts: Sequence[Contribution], examples: Sequence[RetrievalExample], trace: Trace
    ) -> Detection:
        """The detection from what each example adds; `trace` is one of theirs."""
        if not any(part.weight for part in parts):
            raise InputError(self.none_left(parts))
        keys = parts[0].details
        return Detection(
            totals=torch.stack([part.total.double() for part in parts]),
            weights=torch.tensor([part.weight for part in parts], dtype=torch.float64),
            example_ids=tuple(example.id for example in examples),
            detector=self.parameters(),
            threshold=self.threshold,
            model=dict(trace.provenance.get("model") or {}),
            conventions=_conventions(trace),
            details={key: [float(part.details[key]) for part in parts] for key in keys},
            groups=question_groups(examples),
        )


def check_examples(examples: Sequence[Any]) -> None:
    """Refuse what no detector can use.

    Raises:
        InputError: No example, something else than examples, or one id twice.
    """
    if not isinstance(examples, Sequence) or not examples:
        raise InputError("a detector needs a list of at least one example")
    for example in examples:
        if not isinstance(example, RetrievalExample):
            raise InputError(f"examples are RetrievalExamples, not {type(example).__name__}")
    ids = [example.id for example in examples]
    twice = next((one for one in ids if ids.count(one) > 1), None)
    if twice is not None:
        raise InputError(f"two examples have the id {twice!r}; give each example once")


def question_groups(examples: Sequence[RetrievalExample]) -> tuple[str, ...]:
    """The question of each example, else the example itself; empty where none is of a question."""
    asked = [example.meta.get("question_id") for example in examples]
    if all(question is None for question in asked):
        return ()
    return tuple(
        f"example {example.id}" if question is None else f"question {question}"
        for example, question in zip(examples, asked, strict=True)
    )


def _conventions(trace: Trace) -> dict[str, Any]:
    made_by = {"retrieval_lens": trace.provenance.get("retrieval_lens")}
    return {**made_by, **(trace.provenance.get("conventions") or {})}


def _check_pairs(traces: Sequence[Trace], examples: Sequence[RetrievalExample]) -> None:
    if len(traces) != len(examples):
        raise InputError(f"{len(traces)} traces for {len(examples)} examples; give one each")
    for trace, example in zip(traces, examples, strict=True):
        same = torch.equal(trace.token_ids.cpu(), example.token_ids.cpu())
        if not same or not torch.equal(trace.evidence.cpu(), example.evidence.cpu()):
            raise InputError(
                f"example {example.id!r} is not what was traced: prompt or evidence differ; give "
                f"traces and examples in the same order"
            )
    models = {(trace.provenance.get("model") or {}).get("name") for trace in traces}
    shapes = {tuple(next(iter(trace.scores.values())).shape[1:]) for trace in traces}
    if len(models) > 1 or len(shapes) > 1:
        raise InputError(f"the traces are of different models: {sorted(map(str, models))}")
