"""Needle in a haystack (arXiv 2602.11162, appendix A.1).

1. The haystack is repeated and cut to `n_tokens` tokens.
2. The needle goes to the end of the nearest sentence at or before `depth` of it.
3. Context, question and instruction go through the chat template (a plain prompt for a tokenizer
   without one).
4. Evidence is the whole needle sentence, located by where it was put, not by searching.
"""

import re
from pathlib import Path
from random import Random
from typing import Any, SupportsIndex

from retrieval_lens.errors import InputError
from retrieval_lens.tasks.example import RetrievalExample
from retrieval_lens.tasks.haystacks import read_haystack
from retrieval_lens.tasks.needle_formats import needle_format
from retrieval_lens.tasks.token_spans import tokenize

SYSTEM = (
    "You are a helpful AI bot that answers questions for a user. "
    "Keep your response short and direct."
)
INSTRUCTION = "Don't give information outside the document or repeat your findings."
SENTENCE_END = re.compile(r"[.!?][\"')\]\u201d\u2019\u00bb]*(?=\s|$)")


def needle_example(
    tokenizer: Any,
    n_tokens: SupportsIndex = 1000,
    depth: float | int = 0.5,
    seed: SupportsIndex = 0,
    haystack: str | Path | None = None,
    *,
    needle: str = "magic_word",
    chat: bool | None = None,
    prepend_bos: bool | None = None,
) -> RetrievalExample:
    """A needle prompt; the same arguments give the same prompt, byte for byte.

    Args:
        tokenizer: A transformers tokenizer that returns offsets, as `model.tokenizer`.
        n_tokens: Length of the haystack in tokens; needle, question and template come on top.
        depth: Where the needle goes, from 0 (start) to 1 (end); it goes back to a sentence end.
        seed: Draws the answer; examples that differ in length or depth alone share it.
        haystack: A shipped name, a text file, or a folder of text files; None is `mixed`.
        needle: Name of a needle format: `magic_word` (a UUID), `ticket_number`, `boat_name`.
        chat: Use the chat template; None uses it where the tokenizer has one.
        prepend_bos: As in `RetrievalExample.from_text`.

    Returns:
        The example; `meta` records every choice.

    Raises:
        InputError: `n_tokens` or `depth` out of range, or an empty haystack.
        UnknownNameError: Unknown haystack or needle format.
        ChatTemplateError: `chat=True` without a usable template.

    Examples:
        ```python
        example = rl.needle_example(model.tokenizer, n_tokens=1000, depth=0.5, seed=0)
        ```
    """
    n_tokens, depth, seed = int(n_tokens), float(depth), int(seed)
    if n_tokens < 1 or not 0 <= depth <= 1:
        raise InputError(f"wanted n_tokens >= 1 and 0 <= depth <= 1; got {n_tokens} and {depth}")
    form = needle_format(needle)
    answer = form.draw(Random(seed))
    sentence = form.sentence.format(answer=answer)
    name, prose = read_haystack(haystack)
    context, start = _insert(tokenizer, prose, n_tokens, depth, sentence)
    if chat is None:
        chat = bool(getattr(tokenizer, "chat_template", None))
    before = "Context:\n" if chat else f"{SYSTEM}\n\nContext:\n"
    after = f"\n\nQuestion:\n{form.question}\nInstruction:\n{INSTRUCTION}"
    start += len(before)
    return RetrievalExample.from_text(
        tokenizer,
        before + context + after + ("" if chat else "\nAnswer:"),
        [(start, start + len(sentence))],
        answer=answer,
        question=form.question,
        context=context,
        documents=(context,),
        id=f"needle-{needle}-{name}-{n_tokens}-{depth:g}-{seed}" + ("" if chat else "-plain"),
        chat=chat,
        system=SYSTEM if chat else None,
        prepend_bos=prepend_bos,
        meta={
            "task": "needle",
            "needle": needle,
            "haystack": name,
            "n_tokens": n_tokens,
            "depth": depth,
            "seed": seed,
        },
    )


def _insert(
    tokenizer: Any, prose: str, n_tokens: int, depth: float | int, sentence: str
) -> tuple[str, int]:
    """The haystack of `n_tokens` tokens with the needle in it, and the character it starts at."""
    text, ends = prose, [end for _, end in tokenize(tokenizer, prose)[1]]
    if len(ends) < n_tokens:
        text = "\n\n".join([prose] * (n_tokens // len(ends) + 1))
        ends = [end for _, end in tokenize(tokenizer, text)[1]]
    text = text[: ends[n_tokens - 1]]
    at = ends[round(depth * n_tokens) - 1] if round(depth * n_tokens) else 0
    stops = [match.end() for match in SENTENCE_END.finditer(text) if match.end() <= at]
    if not stops:
        return f"{sentence} {text}", 0
    return f"{text[: stops[-1]]} {sentence}{text[stops[-1] :]}", stops[-1] + 1
