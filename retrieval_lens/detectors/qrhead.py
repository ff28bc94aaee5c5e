"""Query-focused retrieval heads (QRHead; Zhang et al. 2025, arXiv 2506.09944).

1. The query span runs from the late instruction or the question to the end of the prompt, template
   suffix included. The attention rows of all its tokens are averaged: one number for each head and
   token of the context.
2. The same is done with the question replaced by "N/A", and subtracted: what a head attends to
   without any question does not count (calibration).
3. In each gold document the tokens are dropped whose calibrated score is at most mean - 2 std of
   that document's tokens (std with n - 1), and the rest is summed. A single token is kept.
4. The score of an example is the sum over its gold documents, as in the published code; the score
   of a head is the mean over examples. It is at most 1 and may be negative.

Nothing is generated: the prompt up to the query is prefilled once, both endings are fed behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval_lens.detectors.base import HeadDetector, check_examples, question_groups
from retrieval_lens.detectors.detection import Detection
from retrieval_lens.detectors.query_pair import QueryPair, query_pair
from retrieval_lens.errors import InputError
from retrieval_lens.models import model_info
from retrieval_lens.progress import progress_bar
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing.engine import choose_engine
from retrieval_lens.tracing.limits import check_context
from retrieval_lens.tracing.span_rows import mean_rows

GOLD = ("auto", "documents", "evidence")
CONVENTIONS = {
    "attention": "post-softmax rows of the query span, averaged in float64",
    "query_span": "from meta['query_start'], else from the question, to the end of the prompt",
    "std": "n - 1; a document of one token drops nothing",
    "gold": "sum over the gold documents",
}


@final
@dataclass(frozen=True)
class QRHead(HeadDetector):
    """Calibrated attention of the query on the gold documents, mean over examples.

    Which documents are gold: `example.meta["gold_documents"]`, indices into `example.documents`,
    which stand in the prompt in this order (or at `meta["document_spans"]`, characters of the
    prompt). Where there are no indices, as in needle prompts, each evidence span is a document.

    Args:
        gold: `"documents"` and `"evidence"` ask for one of the two; `"auto"` takes documents where
            the examples name them, and refuses a corpus in which only some do.
        null_query: What the question is replaced by.
        n_std: Tokens so many standard deviations below the mean are dropped.
        threshold: A head counts in the share where its score is at least this; the paper has none,
            it ranks.
        name: In results.

    Raises:
        InputError: An unknown `gold`, an empty `null_query`, or a number that is not above 0.

    Examples:
        ```python
        rl.detectors.detect(model, [example], rl.detectors.QRHead()).heads(3)
        ```
    """

    gold: str = "auto"
    null_query: str = "N/A"
    n_std: float | int = 2
    threshold: float | int = 0.1
    name: str = "QRHead"

    def __post_init__(self) -> None:
        if self.gold not in GOLD or not self.null_query.strip():
            raise InputError(
                f"gold is one of {', '.join(GOLD)} and null_query some text; got {self.gold!r} and "
                f"{self.null_query!r}"
            )
        if not 0 < self.n_std < float("inf") or not 0 < self.threshold < float("inf"):
            raise InputError(
                f"n_std and threshold must be above 0; got {self.n_std} and {self.threshold}"
            )

    def detect(
        self,
        model: Any,
        examples: Sequence[RetrievalExample],
        *,
        max_new_tokens: int = 64,
        batch_size: int = 8,
        progress: bool = True,
    ) -> Detection:
        """Score every head of `model` on `examples`, one at a time; nothing is generated.

        Raises:
            InputError: No example, one twice, no gold document, a document or question that is not
                in its prompt, or a prompt that was cut off or is of another tokenizer.
            EvidenceError: A document that no token covers.
            ContextLengthError: An example does not fit; nothing is run before all are known to.
            NumericalError: NaN in the attention.
        """
        check_examples(examples)
        gold = self._gold_of(examples)
        engine, why = choose_engine(model, "auto", ())
        pairs = [query_pair(model.tokenizer, e, self.null_query, gold) for e in examples]
        for example, pair in zip(examples, pairs, strict=True):
            for ids in pair.token_ids:
                check_context(model, replace(example, token_ids=ids), 1)
        totals = []
        with progress_bar("reading query rows", len(examples), progress) as advance:
            for pair in pairs:
                rows = mean_rows(model, pair.token_ids, pair.first_queries, engine)
                totals.append(self._score(rows, pair))
                advance()
        made_by = {"retrieval_lens": version("retrieval-lens")}
        run = {"engine": engine, "engine_reason": why, "gold_read": gold}
        return Detection(
            totals=torch.stack(totals),
            weights=torch.ones(len(totals), dtype=torch.float64),
            example_ids=tuple(example.id for example in examples),
            detector=self.parameters(),
            threshold=self.threshold,
            model=model_info(model),
            conventions={**made_by, **CONVENTIONS, **run},
            details=_details(pairs),
            groups=question_groups(examples),
        )

    def _score(self, rows: Sequence[Tensor], pair: QueryPair) -> Float[Tensor, "layer head"]:
        query, null = rows
        scores = [
            document_score(query[..., at] - null[..., null_at], self.n_std)
            for at, null_at in pair.documents
        ]
        return torch.stack(scores).sum(0)

    def _gold_of(self, examples: Sequence[RetrievalExample]) -> str:
        """Whether documents or evidence are read, one for the whole corpus."""
        if self.gold != "auto":
            return self.gold
        named = [example.meta.get("gold_documents") is not None for example in examples]
        if any(named) and not all(named):
            raise InputError(
                f"example {examples[named.index(False)].id!r} names no gold documents and others "
                f"do; their scores cannot be averaged: pass gold='evidence', or name them"
            )
        return "documents" if named[0] else "evidence"


def document_score(
    calibrated: Float[Tensor, "layer head token"], n_std: float | int = 2
) -> Float[Tensor, "layer head"]:
    """Sum over a document's tokens but those at or below mean - `n_std` standard deviations.

    Examples:
        >>> document_score(torch.tensor([[[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -9.0]]]))
        tensor([[6.]])
    """
    if calibrated.shape[-1] == 1:
        return calibrated[..., 0]
    floor = calibrated.mean(-1) - n_std * calibrated.std(-1)
    return calibrated.where(calibrated > floor.unsqueeze(-1), 0).sum(-1)


def _details(pairs: Sequence[QueryPair]) -> dict[str, list[float]]:
    """Sizes that the scores depend on."""
    return {
        "n_query_tokens": [float(len(p.token_ids[0]) - p.first_queries[0]) for p in pairs],
        "n_gold_documents": [float(len(p.documents)) for p in pairs],
        "n_gold_tokens": [float(sum(len(at) for at, _ in p.documents)) for p in pairs],
    }
