"""A threshold for RIND, chosen on examples that are not answered later.

1. Of every example the first drafts are written without context, as `NoContext` writes them.
2. Each draft gives the largest score of its content words, 0 where it has none.
3. The threshold is the quantile that a share of the drafts lies above.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from retrieval_lens.errors import InputError
from retrieval_lens.progress import progress_bar
from retrieval_lens.rag.checks import whole
from retrieval_lens.rag.context import context_of
from retrieval_lens.rag.reader import ModelReader, Reader
from retrieval_lens.rag.rind import RIND
from retrieval_lens.rag.settings import Settings
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing.limits import check_context


@dataclass(frozen=True)
class Calibration:
    """A threshold, and what it was chosen on.

    Attributes:
        rind: With the chosen threshold.
        share: Of the drafts that were to have a hit.
        realised: Of the drafts that do.
        largest: The largest score of each draft.
        example_ids: The examples, in the order given.
    """

    rind: RIND
    share: float
    realised: float
    largest: tuple[float, ...]
    example_ids: tuple[str, ...]

    def settings(self, settings: Any = None) -> Settings:
        """Settings with this threshold, which refuse to answer its examples.

        Args:
            settings: The others; None takes the defaults.
        """
        base = Settings() if settings is None else settings
        return replace(base, rind=self.rind, calibrated_on=self.example_ids)

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        lists = {"largest": list(self.largest), "example_ids": list(self.example_ids)}
        return asdict(self) | {"rind": self.rind.as_json()} | lists


def calibrate_threshold(
    model: Any,
    examples: Iterable[RetrievalExample],
    share: Any = 0.5,
    settings: Any = None,
    *,
    n_drafts: Any = 1,
    engine: str = "auto",
    progress: bool = True,
) -> Calibration:
    """The threshold at which a share of the drafts has a hit.

    Args:
        model: A bridge with a tokenizer.
        examples: Others than those that will be answered.
        share: Above 0 and below 1.
        settings: Of the loop; all of `rind` but its threshold counts.
        n_drafts: Most drafts of an example.
        engine: As in `RetrievalTracer.trace`.
        progress: Show a progress bar when it takes more than two seconds.

    Raises:
        InputError: No example, one twice, or a number out of range; or as in `answer`.
        ContextLengthError: As in `answer`.
        NumericalError: As in `answer`.

    Examples:
        ```python
        from retrieval_lens.rag import Settings, calibrate_threshold

        questions = rl.tasks.hotpotqa.own(model.tokenizer, n_paragraphs=2, limit=2)
        found = calibrate_threshold(model, questions, settings=Settings(draft_tokens=4))
        found.rind.threshold
        ```
    """
    settings = Settings() if settings is None else settings
    if not isinstance(settings, Settings):
        raise InputError(f"settings is a rag.Settings(…); got {settings!r}")
    examples, wanted = list(examples), _share(share)
    whole("n_drafts", n_drafts, 1)
    ids = tuple(example.id for example in examples)
    if not ids or len(set(ids)) < len(ids):
        raise InputError(f"wanted at least one example, each once; got {len(ids)}: {ids[:3]}")
    for example in examples:
        check_context(model, example, settings.max_tokens)
    found: list[float] = []
    with progress_bar("calibrating", len(examples), progress) as advance:
        for example in examples:
            with ModelReader(model, example, (), engine) as reader:
                found += largest_scores(reader, example, settings, n_drafts)
            advance()
    threshold = float(np.quantile(found, 1 - wanted))
    realised = float(np.mean([score > threshold for score in found]))
    rind = replace(settings.rind, threshold=threshold)
    return Calibration(rind, wanted, realised, tuple(found), ids)


def largest_scores(
    reader: Reader, example: RetrievalExample, settings: Settings, n_drafts: int
) -> list[float]:
    """The largest score of a content word in each of the first drafts without context."""
    visible = context_of(example, reader.tokenizer).visible(())
    generated: tuple[int, ...] = ()
    found: list[float] = []
    while len(found) < n_drafts and len(generated) < settings.max_tokens:
        room = min(settings.draft_tokens, settings.max_tokens - len(generated))
        draft = reader.draft(generated, visible, room, settings.draft_sentences)
        if not draft.tokens:
            break
        rows = reader.rows(draft.tokens, generated, visible, settings.rind.attention)
        tokens = torch.tensor(draft.tokens)
        words = settings.rind.measure(reader.tokenizer, tokens, draft.entropy, rows)
        found.append(
            float(words.loc[words["content"], "score"].max()) if any(words["content"]) else 0.0
        )
        generated += draft.tokens
        if draft.ended:
            break
    return found or [0.0]  # an answer without a word has no hit at any threshold


def _share(share: Any) -> float:
    number = isinstance(share, float | int) and not isinstance(share, bool)
    if not (number and 0 < share < 1):
        raise InputError(
            f"share is above 0 and below 1; got {share!r}. RIND(threshold=0) fires on every draft "
            f"with a content word, RIND(threshold=1e9) never"
        )
    return float(share)
