"""From characters to token positions, by the tokenizer's own offsets.

1. The prompt is tokenized once, with offsets: for each token the characters it came from.
2. A token belongs to a span if its characters overlap the span's. Searching for token ids instead
   would go wrong wherever the neighbouring text changes how the span is tokenized.
3. Every visible character of the span must be covered by a token; otherwise the offsets of this
   tokenizer cannot be trusted and an error is raised rather than a wrong position returned.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch

from retrieval_lens.errors import EvidenceError, InputError
from retrieval_lens.types import EvidencePositions, TokenIds

Span = tuple[int, int]
Evidence = str | tuple[int, int] | list[int]


def tokenize(tokenizer: Any, text: str) -> tuple[TokenIds, list[Span]]:
    """Token ids and character offsets of `text`, without special tokens added.

    Args:
        tokenizer: A transformers tokenizer that can return offsets (a "fast" one).
        text: The text, special tokens spelled out as a chat template leaves them.

    Returns:
        Ids `[pos]` and one half-open character span for each position.

    Raises:
        InputError: The tokenizer cannot return offsets, or `text` gives no token.
    """
    if tokenizer is None or not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"evidence positions need a tokenizer that returns offsets (is_fast is True); got "
            f"{type(tokenizer).__name__}. Load it with AutoTokenizer.from_pretrained(…)."
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if not encoded["input_ids"]:
        raise InputError(f"the text {text[:40]!r} gives no token")
    offsets = [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
    return torch.tensor(encoded["input_ids"], dtype=torch.long), offsets


def find_span(text: str, evidence: Evidence) -> Span:
    """The characters of `evidence` in `text`: itself if it is a span, else its only occurrence.

    White space at either end of it is left out.

    Raises:
        EvidenceError: Empty, not found, found more than once, or a span outside the text.

    Examples:
        >>> find_span("the cat sat", "cat")
        (4, 7)
    """
    if isinstance(evidence, str):
        return _only_occurrence(text, evidence)
    if len(evidence) != 2 or not 0 <= evidence[0] < evidence[1] <= len(text):
        raise EvidenceError(
            f"the span {tuple(evidence)} is not (start, end) with 0 <= start < end <= {len(text)}, "
            f"the characters of the prompt"
        )
    found = text[evidence[0] : evidence[1]]
    if not found.strip():
        raise EvidenceError(f"the span {tuple(evidence)} holds nothing but white space")
    return _trimmed(int(evidence[0]), found)


def _trimmed(start: int, found: str) -> Span:
    """Without white space at its ends, which a chat template may strip from the message."""
    start += len(found) - len(found.lstrip())
    return start, start + len(found.strip())


def _nearest(text: str, sentence: str) -> str:
    """As many words of the text that are nearly these; "" where none are."""
    n, words = len(sentence.split()), list(re.finditer(r"\S+", text))
    ends = zip(words, words[n - 1 :], strict=False)
    runs = {text[a.start() : b.end()].strip(".,;:!?\"'()"): None for a, b in ends}
    by_small = {run.casefold(): run for run in reversed(runs)}
    found = get_close_matches(sentence.casefold()[:200], by_small, 1, cutoff=0.8)
    return by_small[found[0]] if found else ""


def _only_occurrence(text: str, sentence: str) -> Span:
    if not sentence.strip():
        raise EvidenceError("the evidence is empty; give a sentence of the prompt or (start, end)")
    start = text.find(sentence)
    if start < 0:
        near = _nearest(text, sentence)
        raise EvidenceError(
            f"evidence {sentence[:80]!r} is not in the prompt of {len(text)} characters; it must "
            f"stand there letter for letter"
            + (f". Did you mean {near!r}?" if near else " (a template or a limit may have cut it)")
        )
    again = text.find(sentence, start + 1)
    if again >= 0:
        raise EvidenceError(
            f"evidence {sentence[:80]!r} is in the prompt more than once, at characters {start} "
            f"and {again}; say which by passing (start, end)"
        )
    return _trimmed(start, sentence)


def positions_of(
    offsets: Sequence[Span], spans: Sequence[Span], text: str | None = None
) -> EvidencePositions:
    """Positions `[evidence]`, ascending, of all tokens whose characters overlap one of `spans`.

    Args:
        offsets: One half-open character span a token.
        spans: Half-open character spans of the evidence.
        text: The prompt; with it, characters of a span that no token covers raise.

    Raises:
        EvidenceError: No token overlaps a span, or visible characters are covered by none.

    Examples:
        >>> positions_of([(0, 3), (3, 7), (7, 11)], [(4, 7)])
        tensor([1])
    """
    found: set[int] = set()
    for start, end in spans:
        hits = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        if not hits:
            raise EvidenceError(f"no token covers the characters {start} to {end} of the prompt")
        if text is not None:
            _check_covered(text, (start, end), [offsets[i] for i in hits])
        found.update(hits)
    return torch.tensor(sorted(found), dtype=torch.long)


def _check_covered(text: str, span: Span, pieces: Sequence[Span]) -> None:
    covered = {i for a, b in pieces for i in range(a, b)}
    missing = [i for i in range(*span) if i not in covered and not text[i].isspace()]
    if missing:
        around = text[max(missing[0] - 10, 0) : missing[0] + 10]
        raise EvidenceError(
            f"{len(missing)} characters of the evidence, the first at {missing[0]} "
            f"({around!r}), belong to no token: this tokenizer's offsets cannot be used"
        )
