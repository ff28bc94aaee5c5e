"""Many needle prompts, each with an answer of its own, for corpora and detection."""

from collections.abc import Sequence
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any, SupportsIndex

from retrieval_lens.errors import InputError
from retrieval_lens.tasks.example import RetrievalExample
from retrieval_lens.tasks.needle import needle_example


def needle_examples(
    tokenizer: Any,
    n: SupportsIndex,
    *,
    n_tokens: Sequence[int] = (100, 150, 200, 250, 300),
    depths: Sequence[float | int] = (0.0, 0.25, 0.5, 0.75, 1.0),
    haystacks: Sequence[str | Path] = ("mixed",),
    needles: Sequence[str] = ("magic_word",),
    first_seed: SupportsIndex = 2000,
    chat: bool | None = None,
) -> list[RetrievalExample]:
    """`n` needle prompts that go round all combinations of length, depth, haystack and needle.

    No two share a seed, so no answer is seen twice: what is learnt on some of them cannot be the
    answers of the others.

    Args:
        tokenizer: As in `needle_example`.
        n: How many.
        n_tokens: Lengths of the haystack.
        depths: Where the needle goes, from 0 to 1.
        haystacks: Shipped names, text files or folders.
        needles: Names of needle formats.
        first_seed: Of the first prompt; the others count up from there.
        chat: As in `needle_example`.

    Raises:
        InputError: `n` below 1, or nothing to go round.
        UnknownNameError: Unknown haystack or needle format.

    Examples:
        ```python
        examples = rl.tasks.needle_examples(model.tokenizer, 3, n_tokens=[40], depths=[0, 1])
        [example.meta["depth"] for example in examples]  # 0.0, 1.0, 0.0
        ```
    """
    places = list(product(n_tokens, depths, haystacks, needles))
    if int(n) < 1 or not places:
        raise InputError(f"wanted n >= 1 and at least one place; got {int(n)}, {len(places)}")
    return [
        needle_example(tokenizer, length, depth, seed, haystack, needle=needle, chat=chat)
        for seed, (length, depth, haystack, needle) in enumerate(
            islice(cycle(places), int(n)), int(first_seed)
        )
    ]
