"""Dynamic RAG over one prompt: Algorithm 1 of arXiv 2602.11162.

1. The context is hidden. A draft of the next sentence is decoded.
2. RIND judges it. Without a hit the draft is appended, and what was shown is hidden again.
3. With a hit the sentences of the draft before the hit's are kept. The strategy says which windows
   of the context to show. One sentence is decoded with these visible (`rewrite_sentences`), and is
   not judged.
4. Until the end of the sequence, a text that ends answers, `max_tokens`, or a round that adds
   nothing.

As printed, the algorithm cuts the generated text before the draft is appended to it, so it would
keep nothing of a draft (`keep="nothing"`). DRAGIN's code cuts at the sentence before the hit's as
well. Here every whole sentence before the hit is kept.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from retrieval_lens.rag.answer import Answer, Round, revealed
from retrieval_lens.rag.checks import whole
from retrieval_lens.rag.context import PromptContext, context_of
from retrieval_lens.rag.reader import Reader, sentence_starts
from retrieval_lens.rag.rind import first_hit
from retrieval_lens.rag.settings import Settings
from retrieval_lens.rag.strategies.base import Request, Strategy
from retrieval_lens.rag.windows import Span
from retrieval_lens.tasks import RetrievalExample, response_metrics

PLAIN = Settings()


def run(
    reader: Reader,
    example: RetrievalExample,
    strategy: Strategy,
    settings: Settings = PLAIN,
    seed: Any = 0,
) -> Answer:
    """The loop on any reader, so that its steps can be followed; see `answer`.

    Raises:
        InputError: No context, evidence outside it, a seed that is none, or windows that reach out
            of the context.
    """
    job = _Job(
        reader, context_of(example, reader.tokenizer), strategy, settings, whole("seed", seed, 0)
    )
    generated: tuple[int, ...] = ()
    rounds: list[Round] = []
    shown, stopped_by = job.at_first, None
    while stopped_by is None:
        one = job.round(generated, shown, len(rounds))
        rounds.append(one)
        generated += one.added
        keeps = one.windows is not None and settings.remask == "after_clean_draft"
        shown = one.windows if keeps and one.windows is not None else job.at_first
        stopped_by = job.why_stop(generated, one)
    return job.answer(generated, tuple(rounds), stopped_by)


@dataclass(frozen=True, eq=False)
class _Job:
    """One question under one strategy."""

    reader: Reader
    context: PromptContext
    strategy: Strategy
    settings: Settings
    seed: int

    @property
    def at_first(self) -> tuple[Span, ...]:
        """Windows that are visible when nothing was retrieved."""
        return (self.context.span,) if self.strategy.starts_visible else ()

    def round(self, generated: tuple[int, ...], shown: tuple[Span, ...], number: int) -> Round:
        """Lines 4 to 16 of Algorithm 1."""
        visible, s = self.context.visible(shown), self.settings
        room = min(s.draft_tokens, s.max_tokens - len(generated))
        draft = self.reader.draft(generated, visible, room, s.draft_sentences)
        clean = Round(
            draft=self.text(draft.tokens),
            draft_tokens=draft.tokens,
            seen=shown,
            kept=self.text(draft.tokens),
            kept_tokens=draft.tokens,
            ended=draft.ended,
        )
        if not self.strategy.retrieves or not draft.tokens:
            return clean
        rows = self.reader.rows(draft.tokens, generated, visible, s.rind.attention)
        tokens = torch.tensor(draft.tokens)
        words = s.rind.measure(self.reader.tokenizer, tokens, draft.entropy, rows)
        judged = replace(clean, rind=tuple(words.to_dict("records")))
        hit = first_hit(words)
        if hit is None:
            return judged
        starts = sentence_starts(self.reader.tokenizer, draft.tokens)
        before = starts[int(words["sentence"].iloc[hit])] if s.keep == "sentences" else 0
        kept = draft.tokens[:before]
        word = str(words["word"].iloc[hit])
        cut = replace(judged, hit=word, kept=self.text(kept), kept_tokens=kept)
        return self.rewritten(cut, generated + kept, number)

    def rewritten(self, one: Round, before: tuple[int, ...], number: int) -> Round:
        """Retrieve behind `before`, which ends with what is kept of the draft, and go on."""
        s = self.settings
        request = Request(self.reader, self.context, before, number, self.seed, s)
        found = self.strategy.windows(request)
        room = min(s.draft_tokens, s.max_tokens - len(before))
        rewrite = self.reader.draft(
            before, self.context.visible(found.windows), room, s.rewrite_sentences
        )
        return replace(
            one,
            heads=None if found.heads is None else tuple((i, j) for i, j in found.heads),
            positions=found.positions,
            clusters=found.clusters,
            windows=tuple(found.windows),
            rewrite=self.text(rewrite.tokens),
            rewrite_tokens=rewrite.tokens,
            ended=rewrite.ended,
        )

    def why_stop(self, generated: tuple[int, ...], one: Round) -> str | None:
        """Why the answer is finished, or None."""
        pattern = self.settings.stop_text
        if one.ended:
            return "end_of_text"
        if not one.added:
            return "no_growth"
        if pattern is not None and re.search(pattern, self.text(generated)):
            return "stop_text"
        return "max_tokens" if len(generated) >= self.settings.max_tokens else None

    def text(self, tokens: Sequence[int]) -> str:
        """Tokens as text, special ones removed."""
        return self.reader.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def answer(self, tokens: tuple[int, ...], rounds: tuple[Round, ...], stopped_by: str) -> Answer:
        """Everything together."""
        text, example = self.text(tokens), self.context.example
        seen = self.context.visible(revealed(rounds))
        metrics = response_metrics(example, text, stopped_by == "max_tokens")
        metrics |= {
            "evidence_recall": float(seen[example.evidence].float().mean()),
            "revealed_share": float(seen[slice(*self.context.span)].float().mean()),
            "n_retrievals": float(sum(one.windows is not None for one in rounds)),
            "n_rounds": float(len(rounds)),
        }
        provenance = {
            **self.reader.provenance,
            "example": {"id": example.id, "answer": example.answer, **example.meta},
            "context": list(self.context.span),
            "evidence": example.evidence.tolist(),
            "strategy": self.strategy.parameters(),
            "settings": self.settings.as_json(),
            "seed": self.seed,
            "decoding": "greedy, lowest id of equal logits",
        }
        # as a file gives it back, with lists in place of tuples
        return Answer(text, tokens, metrics, rounds, stopped_by, json.loads(json.dumps(provenance)))
