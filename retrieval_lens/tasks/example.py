"""One prompt with its evidence: what every tracer, ablation and analysis starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch

from retrieval_lens.errors import EvidenceError, InputError
from retrieval_lens.tasks.chat import bos_of, render
from retrieval_lens.tasks.token_spans import Evidence, Span, find_span, positions_of, tokenize
from retrieval_lens.types import EvidencePositions, TokenIds

LAYOUT = "@"  # in an id: what follows tells layouts of one example apart


def without_layout(example_id: str) -> str:
    """The part of an id that all layouts of one example share.

    Examples:
        >>> without_layout("own-orle-22@10paragraphs-seed1"), without_layout("needle-3")
        ('own-orle-22', 'needle-3')
    """
    return example_id.partition(LAYOUT)[0]


@dataclass(frozen=True, eq=False)
class RetrievalExample:
    """A tokenized prompt, the positions of its evidence, and the answer.

    Attributes:
        id: Name that tells this example from others; results carry it. Examples whose names differ
            behind an @ alone are layouts of one, and count as the same where heads or probes must
            not be judged on what they were chosen on.
        prompt: The whole text that is tokenized, chat template included.
        token_ids: `[pos]`, the prompt as the model gets it.
        evidence: `[evidence]`, ascending positions of the evidence tokens.
        evidence_spans: Half-open character spans of the evidence in `prompt`.
        answer: The text that a right response holds, or "" if there is none.
        question: The question, "" if there is none.
        context: The text that holds the evidence, "" if it is not told apart from the prompt.
        documents: The parts of the context, one string each.
        meta: How the example was made (seed, haystack, template arguments …), JSON-able.
    """

    id: str
    prompt: str
    token_ids: TokenIds
    evidence: EvidencePositions
    evidence_spans: tuple[Span, ...]
    answer: str = ""
    question: str = ""
    context: str = ""
    documents: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One line; the prompt would fill the screen."""
        return (
            f"RetrievalExample({self.id}, {len(self.token_ids)} tokens, evidence of "
            f"{len(self.evidence)} at {int(self.evidence[0])} to {int(self.evidence[-1])}, "
            f"answer={self.answer!r})"
        )

    def __post_init__(self) -> None:
        if len(self.evidence) == 0:
            raise EvidenceError(f"example {self.id!r} has no evidence")
        last = len(self.token_ids) - 1
        if int(self.evidence.min()) < 0 or int(self.evidence.max()) > last:
            raise EvidenceError(
                f"example {self.id!r} has evidence at position {int(self.evidence.max())}, but its "
                f"prompt ends at {last}: the evidence was cut off"
            )
        if (self.evidence.diff() <= 0).any():
            raise EvidenceError(f"evidence positions of {self.id!r} must ascend without repeats")

    @property
    def evidence_text(self) -> str:
        """The evidence, its spans joined by a space."""
        return " ".join(self.prompt[start:end] for start, end in self.evidence_spans)

    @classmethod
    def from_text(
        cls,
        tokenizer: Any,
        prompt: str,
        evidence: str | Sequence[Evidence],
        *,
        answer: str = "",
        question: str = "",
        context: str = "",
        documents: Sequence[str] = (),
        id: str | None = None,
        chat: bool = False,
        system: str | None = None,
        prepend_bos: bool | None = None,
        max_tokens: int | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> "RetrievalExample":
        """An example from any text of yours.

        Args:
            tokenizer: A transformers tokenizer that returns offsets.
            prompt: The text; with `chat=True` the user's message.
            evidence: Each a piece of `prompt`, a word or a sentence, that stands there exactly
                once, or its characters `(start, end)`. A single text is one piece.
            answer: What a right response holds: for the response metrics, and for detectors that
                count right responses only.
            question: The question, which BM25 searches with and QRHead replaces.
            context: The part of the prompt that holds the evidence, which Dynamic RAG hides.
            documents: The parts of the context, which QRHead ranks.
            id: Name of the example; by default a digest of the prompt.
            chat: Put `prompt` through the tokenizer's chat template as the user's message.
            system: System message, with `chat=True` only.
            prepend_bos: Begin with the beginning-of-sequence token. None: as the tokenizer itself
                does for plain text, never after a chat template (which writes its own).
            max_tokens: Keep the first so many tokens; cutting into the evidence raises.
            meta: Anything JSON-able to keep with the results.

        Raises:
            EvidenceError: Evidence empty, not found, found twice, or cut off by `max_tokens`.
            ChatTemplateError: `chat=True` and the tokenizer has no usable template.
            InputError: No token, no offsets, or `system` without `chat`.

        Examples:
            ```python
            example = rl.RetrievalExample.from_text(
                model.tokenizer,
                "Ann has 3 cats. Bob has none. Ann has",
                evidence=["Ann has 3 cats."],
                answer="3",
            )
            ```
        """
        if system is not None and not chat:
            raise InputError("a system message needs chat=True")
        pieces = [evidence] if isinstance(evidence, str) else evidence
        spans = [find_span(prompt, item) for item in pieces]
        text, shift, record = (prompt, 0, {"template": "plain"})
        if chat:
            text, shift, record = render(tokenizer, prompt, system)
        spans = [(start + shift, end + shift) for start, end in spans]
        ids, offsets = tokenize(tokenizer, text)
        bos = bos_of(tokenizer, plain=not chat, prepend=prepend_bos)
        if bos is not None:
            ids, offsets = torch.cat([ids.new_tensor([bos]), ids]), [(0, 0), *offsets]
        if not spans:
            raise EvidenceError(
                "no evidence was given; pass at least one piece of the prompt or (start, end)"
            )
        positions = positions_of(offsets, spans, text)
        if max_tokens is not None and int(positions.max()) >= max_tokens:
            raise EvidenceError(
                f"max_tokens={max_tokens} cuts the evidence off: its last token is at position "
                f"{int(positions.max())}"
            )
        return cls(
            id=f"text-{sha256(text.encode()).hexdigest()[:8]}" if id is None else id,
            prompt=text,
            token_ids=ids[:max_tokens],
            evidence=positions,
            evidence_spans=tuple(spans),
            answer=answer,
            question=question,
            context=context,
            documents=tuple(documents),
            meta={**record, "prepended_bos": bos is not None, **(meta or {})},
        )
