"""Words of a token sequence, for any family of tokenizers.

1. Special tokens are cut out. Each stands in the text as a line break and belongs to no word.
2. The tokens between them are decoded prefix by prefix. What a prefix adds to the common start with
   the whole text are the characters of its last token.
3. A token that adds nothing yet (some bytes of a character, a marker that decodes to nothing) takes
   part in the character that comes next, so a character is never split.
4. A word begins at the first visible character after white space. White space belongs to the word
   behind it. Tokens that share a word are merged; words that share a token are one word.

Nothing here knows the marker characters of a family. DRAGIN merges by a leading space alone, so
punctuation stays with the word it hangs on; it does here too. Scripts that write no spaces give one
word a line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from os.path import commonprefix
from typing import Any

from jaxtyping import Int
from torch import Tensor

from retrieval_lens.errors import InputError

Span = tuple[int, int]


@dataclass(frozen=True)
class Word:
    """One word.

    Attributes:
        text: Without white space at its ends, punctuation included.
        start: First token.
        end: One past the last token.
        at: Its first character in the text of `decoded`.
    """

    text: str
    start: int
    end: int
    at: int


def word_spans(tokenizer: Any, tokens: Int[Tensor, " token"]) -> list[Word]:
    """The words of `tokens`, in order.

    Args:
        tokenizer: A transformers tokenizer.
        tokens: Ids.

    Returns:
        Words; their token ranges do not overlap. Special tokens, and white space that no word
        follows, lie in none.

    Raises:
        InputError: No tokenizer.

    Examples:
        ```python
        tokens = model.tokenizer("Marie Curie, 1903.", return_tensors="pt").input_ids[0]
        [word.text for word in rl.rag.word_spans(model.tokenizer, tokens)]
        ```
    """
    return words_of(*decoded(tokenizer, tokens))


def decoded(tokenizer: Any, tokens: Int[Tensor, " token"]) -> tuple[str, list[Span]]:
    """Text of `tokens`, and the characters that each token takes part in.

    Each special token is a line break in the text and has an empty span there. Spans of tokens that
    share a character overlap.

    Raises:
        InputError: No tokenizer.
    """
    if tokenizer is None:
        raise InputError("words need the tokenizer of the model; got None")
    special = _special_ids(tokenizer)
    text, spans = "", []
    for is_special, group in groupby(tokens.tolist(), special.__contains__):
        run = list(group)
        if is_special:
            spans += [(len(text) + i, len(text) + i) for i in range(len(run))]
            text += "\n" * len(run)
        else:
            piece, inner = _decoded_run(tokenizer, run)
            spans += [(len(text) + start, len(text) + end) for start, end in inner]
            text += piece
    return text, spans


def words_of(text: str, spans: Sequence[Span]) -> list[Word]:
    """The words of what `decoded` returns.

    Examples:
        >>> words_of("a b.", [(0, 1), (1, 3), (3, 4)])[1]
        Word(text='b.', start=1, end=3, at=2)
    """
    found: list[list[int]] = []  # first and last token, first and last character, ends half-open
    first = 0  # token after the last one that is visible or special
    for i, (start, end) in enumerate(spans):
        piece = text[start:end]
        if start == end:
            first = i + 1
        if not piece.strip():
            continue
        visible = start + len(piece) - len(piece.lstrip())
        shared = bool(found) and visible < found[-1][3]
        if not shared and (visible == 0 or text[visible - 1].isspace()):
            found.append([first, i + 1, visible, visible])
        found[-1][1], found[-1][3] = i + 1, max(found[-1][3], start + len(piece.rstrip()))
        first = i + 1
    return [Word(text[at:stop], start, end, at) for start, end, at, stop in found]


def _special_ids(tokenizer: Any) -> set[int]:
    """Ids with a name, such as eos, and added tokens marked as special, such as ends of turns."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marked = {id for id, token in added.items() if token.special}
    return marked | set(tokenizer.all_special_ids)


def _decoded_run(tokenizer: Any, run: Sequence[int]) -> tuple[str, list[Span]]:
    """Text and spans of tokens none of which is special."""
    text, spans, start = _decode(tokenizer, run), [], 0
    for i in range(1, len(run) + 1):
        end = max(start, len(commonprefix([_decode(tokenizer, run[:i]), text])))
        if end > start:
            spans.append((start, end))
        else:
            spans.append((start, start + 1) if start < len(text) else (max(start - 1, 0), start))
        start = end
    return text, spans


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
