"""The two prompts of the QRHead detector: as it is, and with the question replaced.

1. The question is found where it stands for the last time, the gold documents where they are said
   to be, one behind the other, or where the evidence is.
2. Both prompts are tokenized as text, and every position is read off that prompt's own offsets: a
   token may span the border of what was replaced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import torch
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.tasks import RetrievalExample, positions_of, tokenize
from retrieval_lens.tasks.token_spans import Span


@dataclass(frozen=True, eq=False)
class QueryPair:
    """An example's prompt as it is and with the null query: ids, first rows, document positions."""

    token_ids: tuple[Tensor, Tensor]
    first_queries: tuple[int, int]
    documents: tuple[tuple[Tensor, Tensor], ...]


def query_pair(tokenizer: Any, example: RetrievalExample, null_query: str, gold: str) -> QueryPair:
    """Both prompts of an example; positions in each by its own character offsets.

    Raises:
        InputError: As in `QRHead.detect`.
        EvidenceError: A document that no token covers.
    """
    start, asked = query_start(example)
    spans = gold_spans(example, gold)
    late = [span for span in spans if span[1] > start]
    if late:
        raise InputError(
            f"a gold document of {example.id!r} ends at character {late[0][1]}, after the query "
            f"span begins at {start}; QRHead reads documents in front of the question"
        )
    rest = example.prompt[asked + len(example.question) :]
    texts = example.prompt, example.prompt[:asked] + null_query + rest
    (ids, offsets), (null_ids, null_offsets) = (tokenize(tokenizer, text) for text in texts)
    n_before = len(example.token_ids) - len(ids)
    if n_before not in (0, 1) or not torch.equal(example.token_ids[n_before:].cpu(), ids):
        raise InputError(
            f"the tokens of {example.id!r} are not those of its prompt with this tokenizer: the "
            f"prompt was cut off (max_tokens), or is of another tokenizer"
        )
    before = example.token_ids[:n_before].cpu()
    documents = []
    for span in spans:
        at, null_at = (
            positions_of(o, [span], t) for o, t in zip((offsets, null_offsets), texts, strict=True)
        )
        if not torch.equal(ids[at], null_ids[null_at]):
            raise InputError(
                f"a gold document of {example.id!r} has other tokens when the question is "
                f"{null_query!r}; part it from the question by a line break"
            )
        documents.append((at + n_before, null_at + n_before))
    firsts = (_first(o, start) + n_before for o in (offsets, null_offsets))
    both = torch.cat([before, ids]), torch.cat([before, null_ids])
    return QueryPair(both, tuple(firsts), tuple(documents))  # pyright: ignore[reportArgumentType]


def _first(offsets: Sequence[Span], start: int) -> int:
    """The first token that reaches beyond the character `start`."""
    return next(i for i, (_, end) in enumerate(offsets) if end > start)


def query_start(example: RetrievalExample) -> tuple[int, int]:
    """The characters at which the query span and the question begin, the question's last time.

    Raises:
        InputError: The question is empty or not there, or the span begins after it.
    """
    asked = example.prompt.rfind(example.question)
    if not example.question.strip() or asked < 0:
        raise InputError(
            f"the question {example.question[:80]!r} of {example.id!r} is empty or not in its "
            f"prompt; QRHead replaces it, so it must stand there letter for letter"
        )
    start = example.meta.get("query_start", asked)
    if isinstance(start, bool) or not isinstance(start, int) or not 0 <= start <= asked:
        raise InputError(
            f"meta['query_start'] of {example.id!r} is {start!r}; wanted a character of the prompt "
            f"in 0..{asked}, where the question begins"
        )
    return start, asked


def gold_spans(example: RetrievalExample, gold: str) -> list[Span]:
    """Half-open character spans of the gold documents in the prompt.

    Raises:
        InputError: No gold document, or one that is empty or not in the prompt.
    """
    if gold == "evidence":
        spans = list(example.evidence_spans)
        if not spans:
            raise InputError(f"example {example.id!r} has no evidence spans")
        return spans
    listed, n = example.meta.get("gold_documents"), len(example.documents)
    try:
        chosen = sorted({index(number) for number in listed or ()})
    except TypeError as error:
        raise InputError(f"meta['gold_documents'] of {example.id!r} is {listed!r}") from error
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < n:
        raise InputError(
            f"example {example.id!r} names the gold documents {listed!r} of {n} documents; wanted "
            f"indices in meta['gold_documents'], or gold='evidence'"
        )
    empty = [number for number in chosen if not example.documents[number].strip()]
    if empty:
        raise InputError(f"the gold document {empty[0]} of {example.id!r} is empty")
    spans = document_spans(example)
    return [spans[number] for number in chosen]


def document_spans(example: RetrievalExample) -> list[Span]:
    """Where each document stands: as `meta["document_spans"]` says, else one after the other.

    Raises:
        InputError: A document that is not behind the one before it, or not where `meta` says.
    """
    given = example.meta.get("document_spans")
    if given is not None:
        try:
            spans = [(index(start), index(end)) for start, end in given]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"meta['document_spans'] of {example.id!r} is {given!r}; wanted (start, end) each"
            ) from error
        if [example.prompt[start:end] for start, end in spans] != list(example.documents):
            raise InputError(f"meta['document_spans'] of {example.id!r} do not hold its documents")
        return spans
    spans, at = [], 0
    for number, document in enumerate(example.documents):
        found = example.prompt.find(document, at)
        n_there, n_listed = example.prompt.count(document), example.documents.count(document)
        if not document.strip() or found < 0 or n_there != n_listed:
            raise InputError(
                f"document {number} of {example.id!r} ({document[:40]!r}) stands {n_there} times "
                f"in the prompt, not {n_listed}, or not behind the one before it; say where "
                f"documents are in meta['document_spans']"
            )
        at = found + len(document)
        spans.append((found, at))
    return spans
