"""Retrieval heads after Wu et al. 2024 (arXiv 2404.15574, Sec. 2).

1. A head scores a hit at a decode step if its most attended position lies in the needle and the
   token there is the one that is generated: the copy-paste score by token.
2. Every hit adds 1 / |needle|, where |needle| counts the needle's tokens; the score of an example
   is the sum. Hits on one needle token at several steps all count, so a score can exceed 1.
3. Only examples whose needle was found count: ROUGE-1 recall of the needle's words in the response,
   stemmed, must be above 0.5.
4. The score of a head is the mean over those examples; from 0.1 on it is a retrieval head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

from retrieval_lens.detectors.base import Contribution, TraceDetector
from retrieval_lens.errors import InputError
from retrieval_lens.scores import CopyPaste, StepScore
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing import Trace

RECALL, TRUNCATED = "rouge1_recall", "truncated"


@final
@dataclass(frozen=True)
class Wu(TraceDetector):
    """Hits over needle tokens, mean over the examples that passed the gate.

    Args:
        min_recall: ROUGE-1 recall must be above this for an example to count.
        threshold: A head is a retrieval head where its score is at least this.
        name: In results.

    Raises:
        InputError: `min_recall` outside [0, 1), or a threshold that is not above 0.
    """

    min_recall: float | int = 0.5
    threshold: float | int = 0.1
    name: str = "Wu et al. 2024"

    def __post_init__(self) -> None:
        if not 0 <= self.min_recall < 1 or not 0 < self.threshold < float("inf"):
            raise InputError(
                f"wanted 0 <= min_recall < 1 and threshold > 0; got {self.min_recall} and "
                f"{self.threshold}"
            )

    def step_scores(self) -> Sequence[StepScore]:
        """Eq. 1 by token."""
        return (CopyPaste(),)

    def contribution(self, trace: Trace, example: RetrievalExample) -> Contribution:
        """Hits of each head over the number of needle tokens; weight 0 below the gate."""
        hits = trace.rescore(CopyPaste()).double().sum(0)
        recall = rouge1_recall(example.evidence_text, trace.text)
        passed = recall > self.min_recall
        kept = {RECALL: recall, TRUNCATED: float(trace.truncated)}
        return Contribution(hits / len(trace.evidence), float(passed), kept)

    def none_left(self, parts: Sequence[Contribution]) -> str:
        """How many failed, how many of them for want of steps, and how near the best came."""
        best = max(part.details[RECALL] for part in parts)
        cut = sum(part.details[TRUNCATED] > 0 for part in parts)
        return (
            f"all {len(parts)} examples failed Wu's gate: ROUGE-1 recall of the needle in the "
            f"response must be above {self.min_recall}, the best is {best:.2f}, and {cut} "
            f"responses ran into max_new_tokens; take shorter prompts, more steps, or a model "
            f"that finds the needle"
        )


@cache
def _scorer():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1"], use_stemmer=True)


def rouge1_recall(needle: str, response: str) -> float:
    """Share of the needle's words that stand in the response, stemmed.

    Words are runs of Latin letters and digits; a needle without any has recall 0.

    Examples:
        >>> rouge1_recall("The magic words are 12 34.", "Magic word: 12")
        0.5
    """
    return float(_scorer().score(needle, response)["rouge1"].recall)
