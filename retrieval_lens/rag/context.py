"""Which tokens of a prompt are its context, and which of them a set of windows shows.

1. The context goes from the first to the last document, in characters of the prompt.
2. A token belongs to it if its characters overlap it.
3. What stands before and behind it (instruction, question, template) is always visible.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from retrieval_lens.errors import EvidenceError, InputError
from retrieval_lens.rag.sentences import sentence_spans
from retrieval_lens.rag.windows import Span, merged
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tasks.token_spans import find_span, tokenize

WANTED = (
    "wanted meta['document_spans'] (characters of each document in the prompt, as the multi-hop "
    "sets have it) or example.context, as a text that stands once in the prompt"
)


@dataclass(frozen=True, eq=False)
class PromptContext:
    """The context of one prompt.

    Attributes:
        example: The prompt.
        span: Half-open span of the context's tokens.
        characters: Half-open span of its characters in the prompt.
        offsets: Characters of each token of the prompt; (0, 0) for a prepended one.
    """

    example: RetrievalExample
    span: Span
    characters: Span
    offsets: tuple[Span, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of the context."""
        return self.span[1] - self.span[0]

    def visible(self, windows: Sequence[Any]) -> Bool[Tensor, " pos"]:
        """Which positions of the prompt are visible when these windows are shown.

        Raises:
            InputError: A window that is empty or reaches out of the context.
        """
        mask = torch.ones(len(self.example.token_ids), dtype=torch.bool)
        mask[slice(*self.span)] = False
        for start, end in merged(windows):
            if start < self.span[0] or end > self.span[1]:
                raise InputError(f"window {(start, end)} reaches out of the context {self.span}")
            mask[start:end] = True
        return mask

    @cached_property
    def evidence_spans(self) -> tuple[Span, ...]:
        """The evidence as half-open spans of tokens."""
        return tuple(merged([(i, i + 1) for i in self.example.evidence.tolist()]))

    @cached_property
    def sentences(self) -> tuple[tuple[Span, ...], tuple[str, ...]]:
        """Tokens and text of each sentence of the context; together they cover it."""
        begin, end = self.characters
        text = self.example.prompt[begin:end]
        spans = [(start + begin, stop + begin) for start, stop in sentence_spans(text)]
        tokens = [overlapping(self.offsets, one) for one in spans]
        return tuple(tokens), tuple(self.example.prompt[start:stop] for start, stop in spans)


def context_of(example: RetrievalExample, tokenizer: Any) -> PromptContext:
    """The context of an example.

    Raises:
        InputError: No context, one that ends the prompt, evidence outside it, or another tokenizer
            than the prompt was made with.
    """
    ids, offsets = tokenize(tokenizer, example.prompt)
    ours = example.token_ids
    fitting = [n for n in (0, 1) if torch.equal(ours[n:], ids[: len(ours) - n])]
    if not fitting:
        raise InputError(
            f"this tokenizer gives other tokens for example {example.id!r}: it was made with "
            f"another model's tokenizer"
        )
    offsets = [(0, 0)] * fitting[0] + offsets[: len(ours) - fitting[0]]
    characters = _characters(example)
    span = overlapping(offsets, characters)
    if span[1] >= len(ours):
        raise InputError(
            f"the context of example {example.id!r} ends its prompt; wanted a question behind it"
        )
    if int(example.evidence[0]) < span[0] or int(example.evidence[-1]) >= span[1]:
        raise InputError(
            f"example {example.id!r} has evidence outside its context, tokens {span}; {WANTED}"
        )
    return PromptContext(example, span, characters, tuple(offsets))


def overlapping(offsets: Sequence[Span], characters: Span) -> Span:
    """The half-open span of tokens whose characters overlap these.

    Raises:
        InputError: There is none.

    Examples:
        >>> overlapping([(0, 3), (3, 7), (7, 9)], (4, 8))
        (1, 3)
    """
    begin, end = characters
    found = [i for i, (start, stop) in enumerate(offsets) if start < end and stop > begin]
    if not found:
        raise InputError(f"no token of the prompt covers the characters {characters}")
    return found[0], found[-1] + 1


def _characters(example: RetrievalExample) -> Span:
    """From the first to the last document."""
    listed = example.meta.get("document_spans")
    if listed is None:
        if not example.context.strip():
            raise InputError(f"example {example.id!r} has no context; {WANTED}")
        try:
            return find_span(example.prompt, example.context)
        except EvidenceError as error:
            raise InputError(
                f"the context of example {example.id!r} cannot be found: {error}; {WANTED}"
            ) from error
    try:
        start = min(int(one) for one, _ in listed)
        end = max(int(one) for _, one in listed)
        return find_span(example.prompt, (start, end))
    except (TypeError, ValueError) as error:
        raise InputError(f"example {example.id!r} has documents {listed!r}; {WANTED}") from error
