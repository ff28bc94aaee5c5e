"""What the loop asks of a model: a draft, attention within it, and a look at the whole context.

1. `draft` decodes greedily and ends behind a sentence. That a sentence is over shows with the first
   word of the next, so a draft of n tokens costs n + 1 steps; that word is dropped.
2. `rows` gives RIND the attention of the last layer within a draft: of the draft run alone, or
   behind the prompt with the same context hidden.
3. `look` shows the whole context and reads the row of every head at the last position.

`ModelReader` has two sessions: one of drafts, one of looks. What a sequence begins with together
with the one before it is not computed again. So the whole context is prefilled once per reader, and
a look then costs the tokens that are new since the last one.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval_lens.models import attention_layers, eos_token_ids, model_info
from retrieval_lens.rag.draft_rows import isolated_rows
from retrieval_lens.rag.rind import entropy_of
from retrieval_lens.rag.sentences import sentence_spans
from retrieval_lens.rag.words import decoded
from retrieval_lens.tasks import RetrievalExample
from retrieval_lens.tracing.decoding import greedy
from retrieval_lens.tracing.engine import choose_engine
from retrieval_lens.tracing.visible import VisibleSession


@dataclass(frozen=True, eq=False)
class Draft:
    """Tokens that were tried.

    Attributes:
        tokens: Their ids, without the end-of-sequence token.
        entropy: `[token]`, nats, of the distribution that each was drawn from.
        ended: Whether the end of the sequence came behind them.
    """

    tokens: tuple[int, ...]
    entropy: Float[Tensor, " _"]
    ended: bool


@dataclass(frozen=True, eq=False)
class Look:
    """The last position, with the whole context visible.

    Attributes:
        rows: `[layer, head, key_pos]`, its attention over prompt and generated text.
        hidden: `{hook name: [d_model]}`.
        predicted: The token that would come next; -1 where it is not known.
    """

    rows: Float[Tensor, "layer head key_pos"]
    hidden: dict[str, Float[Tensor, " _"]]
    predicted: int = -1


@runtime_checkable
class Reader(Protocol):
    """One prompt on one model; `generated` holds the token ids behind the prompt."""

    tokenizer: Any
    provenance: dict[str, Any]

    def draft(
        self,
        generated: Sequence[int],
        visible: Bool[Tensor, " pos"],
        max_tokens: int,
        n_sentences: int | None,
    ) -> Draft:
        """Decode at most so many tokens and sentences, these prompt positions visible."""
        ...

    def rows(
        self,
        tokens: Sequence[int],
        generated: Sequence[int],
        visible: Bool[Tensor, " pos"],
        attention: str,
    ) -> Float[Tensor, "head token token"]:
        """Attention of the last layer within a draft; `attention` is `RIND.attention`."""
        ...

    def look(self, generated: Sequence[int]) -> Look:
        """Attention and hidden state of the last position."""
        ...


class ModelReader:
    """A prompt on a real model; a context manager.

    Args:
        model: A bridge with a tokenizer.
        example: The prompt.
        hidden_at: Hook names whose state a look brings.
        engine: As in `RetrievalTracer.trace`.

    Raises:
        InputError: An engine or hook name that cannot be used.
        UnsupportedModelError: Context cannot be hidden from this model.
    """

    model: Any
    example: RetrievalExample
    tokenizer: Any
    engine: str
    layers: list[int]
    stop_ids: set[int]
    provenance: dict[str, Any]

    def __init__(
        self,
        model: Any,
        example: RetrievalExample,
        hidden_at: Sequence[str] = (),
        engine: str = "auto",
    ):
        self.model, self.example, self.tokenizer = model, example, model.tokenizer
        self.engine, reason = choose_engine(model, engine, tuple(hidden_at))
        self.drafts: VisibleSession = VisibleSession(model, (), self.engine)
        self.looks: VisibleSession = VisibleSession(model, hidden_at, self.engine)
        self.layers, self.stop_ids = attention_layers(model), set(eos_token_ids(model))
        self.stack: ExitStack = ExitStack()
        self.provenance = {
            "retrieval_lens": version("retrieval-lens"),
            "model": model_info(model),
            "engine": self.engine,
            "engine_reason": reason,
            "stop_ids": sorted(self.stop_ids),
        }

    def __enter__(self) -> "ModelReader":
        with ExitStack() as stack:
            stack.enter_context(self.drafts)
            stack.enter_context(self.looks)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def draft(
        self,
        generated: Sequence[int],
        visible: Bool[Tensor, " pos"],
        max_tokens: int,
        n_sentences: int | None,
    ) -> Draft:
        """See `Reader`."""
        self._begin(self.drafts, generated, visible, max_tokens)
        response = self.drafts.generate(max_tokens, self._stop(n_sentences))
        tokens = response.tokens.tolist()
        ended = tokens[-1] in self.stop_ids
        tokens = tokens[: len(tokens) - ended]
        starts = sentence_starts(self.tokenizer, tokens)
        if n_sentences is not None and len(starts) > n_sentences:
            # a first token that holds two sentences stays whole
            tokens, ended = tokens[: max(starts[n_sentences], 1)], False
        return Draft(tuple(tokens), entropy_of(response.logits[: len(tokens)]), ended)

    def rows(
        self,
        tokens: Sequence[int],
        generated: Sequence[int],
        visible: Bool[Tensor, " pos"],
        attention: str,
    ) -> Float[Tensor, "head token token"]:
        """See `Reader`."""
        if attention == "isolated":
            return isolated_rows(self.model, tokens, self.engine)
        self._begin(self.drafts, generated, visible, len(tokens))
        self.drafts.step()
        steps = [self.drafts.step(token, rows=True) for token in tokens]
        first, last = len(visible) + len(generated), self.layers[-1]
        rows = [step.rows[last][:, first:] for step in steps]
        return torch.stack(
            [torch.nn.functional.pad(row, (0, len(tokens) - row.shape[1])) for row in rows], dim=1
        )

    def look(self, generated: Sequence[int]) -> Look:
        """See `Reader`."""
        everything = torch.ones(len(self.example.token_ids), dtype=torch.bool)
        self._begin(self.looks, generated, everything, 1)
        step = self.looks.step(rows=True)
        rows = torch.stack([step.rows[layer] for layer in self.layers])
        return Look(rows, step.hidden, int(greedy(step.logits.unsqueeze(0))))

    def _begin(
        self,
        session: VisibleSession,
        generated: Sequence[int],
        visible: Bool[Tensor, " pos"],
        n_new: int,
    ) -> None:
        tail = torch.tensor(list(generated), dtype=torch.long)
        seen = torch.cat([visible, torch.ones(len(tail), dtype=torch.bool)])
        session.begin(torch.cat([self.example.token_ids, tail]), seen, n_new)

    def _stop(self, n_sentences: int | None) -> Callable[[list[int]], bool]:
        def stop(tokens: list[int]) -> bool:
            if tokens[-1] in self.stop_ids or n_sentences is None:
                return tokens[-1] in self.stop_ids
            text = self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
            return len(sentence_spans(text)) > n_sentences

        return stop


def sentence_starts(tokenizer: Any, tokens: Sequence[int]) -> list[int]:
    """First token of each sentence of `tokens`; white space belongs to the sentence before it."""
    text, spans = decoded(tokenizer, torch.tensor(list(tokens), dtype=torch.long))
    begins = [start for start, _ in sentence_spans(text)]
    later = [next(i for i, (_, end) in enumerate(spans) if end > begin) for begin in begins[1:]]
    return [0, *later] if begins else []
