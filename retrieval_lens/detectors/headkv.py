"""Retrieval-reasoning heads after HeadKV-R2 (Fu et al. 2024, arXiv 2410.19258).

1. At each decode step the N most attended positions of a head are taken, N = the number of evidence
   tokens.
2. Each of them that lies in the evidence adds its attention / N. Which token is generated does not
   matter: a head may look at evidence that it does not copy.
3. The score of an example is the sum over its first |answer| steps, |answer| = the number of tokens
   of the answer.
4. Only examples that were answered count: F1 of the response against the answer, as in question
   answering, must be above 0.5. Where a response is a whole sentence, the answer is first taken out
   of it. Of several accepted answers the best counts; |answer| is that of the first.
5. The score of a head is the mean over those examples.

The published code also multiplies by 10 / |answer|, and takes F1 of the response's first |answer|
tokens as they are; neither is done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from retrieval_lens.detectors.base import Contribution, TraceDetector
from retrieval_lens.errors import InputError
from retrieval_lens.scores import CopyPaste, StepScore
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tasks.qa_metrics import accepted_answers
from retrieval_lens.tracing import Trace

F1, TRUNCATED, N_ANSWER, N_STEPS = "f1", "truncated", "n_answer_tokens", "n_steps_read"


@final
@dataclass(frozen=True)
class HeadKV(TraceDetector):
    """Attention on evidence among the top positions, mean over the examples that were answered.

    `detect` keeps as many top positions as the longest evidence has tokens. Traces made before need
    an `n_top` of at least that; give `from_traces` the tokenizer, or examples whose `meta` holds
    `n_answer_tokens`.

    Args:
        min_f1: F1 of the response must be above this for an example to count.
        threshold: A head counts in the share where its score is at least this; the paper has none,
            it ranks.
        f1: `f1(response, answer)` in [0, 1]; None is the official F1 of HotpotQA on the answer
            that is taken out of the response.
        name: In results.

    Raises:
        InputError: `min_f1` outside [0, 1), a threshold that is not above 0, or an `f1` that cannot
            be called.

    Examples:
        ```python
        anyhow = rl.detectors.HeadKV(f1=lambda response, answer: 1.0)  # no gate
        rl.detectors.detect(model, [example], anyhow, max_new_tokens=4).heads(3)
        ```
    """

    min_f1: float | int = 0.5
    threshold: float | int = 0.1
    f1: Any = None
    name: str = "HeadKV-R2"

    def __post_init__(self) -> None:
        if not 0 <= self.min_f1 < 1 or not 0 < self.threshold < float("inf"):
            raise InputError(
                f"wanted 0 <= min_f1 < 1 and threshold > 0; got {self.min_f1} and {self.threshold}"
            )
        if self.f1 is not None and not callable(self.f1):
            raise InputError(f"f1 is a function of response and answer, not {self.f1!r}")

    def parameters(self) -> dict[str, Any]:
        """Class and parameters; the function by its name."""
        f1 = answer_f1 if self.f1 is None else self.f1
        name = f"{f1.__module__}.{getattr(f1, '__qualname__', type(f1).__qualname__)}"
        return {**super().parameters(), "f1": name}

    def step_scores(self) -> Sequence[StepScore]:
        """Any score does: only the top positions are read."""
        return (CopyPaste(),)

    def n_top(self, examples: Sequence[RetrievalExample]) -> int:
        """The tokens of the longest evidence."""
        return max(len(example.evidence) for example in examples)

    def prepared(self, example: RetrievalExample, tokenizer: Any) -> RetrievalExample:
        """The example with the number of answer tokens in its `meta`.

        Raises:
            InputError: No answer, or no way to count its tokens.
        """
        if not example.answer.strip():
            raise InputError(f"example {example.id!r} has no answer; HeadKV needs one")
        if tokenizer is None:
            _answer_tokens(example)
            return example
        n = len(tokenizer(example.answer, add_special_tokens=False)["input_ids"])
        return replace(example, meta={**example.meta, N_ANSWER: n})

    def contribution(self, trace: Trace, example: RetrievalExample) -> Contribution:
        """Attention of the top positions in the evidence over N; weight 0 below the gate.

        Raises:
            InputError: The trace keeps fewer top positions than the evidence has tokens.
        """
        n, kept = len(example.evidence), trace.top_positions.shape[-1]
        if kept < n:
            raise InputError(
                f"the trace of {example.id!r} keeps {kept} top positions a row, but its evidence "
                f"has {n} tokens; trace with RetrievalTracer(..., n_top={n})"
            )
        n_answer = _answer_tokens(example)
        inside = torch.isin(trace.top_positions[:n_answer, ..., :n], trace.evidence)
        total = (trace.top_weights[:n_answer, ..., :n].double() * inside).sum((0, 3)) / n
        score = self.f1 or answer_f1
        f1 = max(float(score(trace.text, answer)) for answer in accepted_answers(example))
        details = {
            F1: f1,
            TRUNCATED: float(trace.truncated),
            N_ANSWER: float(n_answer),
            N_STEPS: float(min(n_answer, trace.n_steps)),
        }
        return Contribution(total, float(f1 > self.min_f1), details)

    def none_left(self, parts: Sequence[Contribution]) -> str:
        """How many failed, how near the best came, and how many ran out of steps."""
        best = max(part.details[F1] for part in parts)
        cut = sum(part.details[TRUNCATED] > 0 for part in parts)
        return (
            f"all {len(parts)} examples failed HeadKV's gate: F1 of the response must be above "
            f"{self.min_f1}, the best is {best:.2f}, and {cut} responses ran into max_new_tokens; "
            f"take a model that answers, easier questions, or another f1= or min_f1="
        )


def answer_f1(response: str, answer: str) -> float:
    """F1 of HotpotQA between the answer in a response and the right one."""
    from retrieval_lens.tasks import qa_metrics

    return float(qa_metrics.f1(qa_metrics.extract_answer(response), answer))


def _answer_tokens(example: RetrievalExample) -> int:
    meta: Mapping[str, Any] = example.meta
    n = meta.get(N_ANSWER)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(
            f"the number of answer tokens of {example.id!r} is not known; give from_traces "
            f"tokenizer=model.tokenizer, or the example meta={{'{N_ANSWER}': ...}}"
        )
    return n
