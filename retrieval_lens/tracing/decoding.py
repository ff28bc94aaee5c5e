"""Greedy decoding that can be watched: prefill once, then step.

1. All tokens of each prompt but the last are prefilled.
2. Step 0 feeds the last prompt token, step t > 0 the token that step t - 1 predicted; its attention
   rows are shown to the recorder, its prediction is the arg-max of the logits (the lowest id of
   equals).
3. A row ends with its first end-of-sequence token, which counts as a step, or at the limit.

Two decoders do the work: `FastDecoder` on the plain twin, `HookedDecoder` on the bridge.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval_lens.errors import NumericalError
from retrieval_lens.tracing.edits import AttentionEdit
from retrieval_lens.tracing.fast_attention import RowListener
from retrieval_lens.tracing.recorder import Observations, RowRecorder
from retrieval_lens.types import Prompts

OVERFLOW = "the model's logits are NaN or infinite: it overflows here; load it in float32"


@dataclass(frozen=True, eq=False)
class StepOutput:
    """What one step leaves behind, attention rows apart.

    Attributes:
        logits: `[row, vocab]` of the last position.
        hidden: `{hook name: [row, d_model]}`.
    """

    logits: Float[Tensor, "row vocab"]
    hidden: dict[str, Tensor]


class Decoder(ABC):
    """Runs a batch of prompts; a context manager that leaves no hook behind."""

    def __init__(self) -> None:
        self.stack: ExitStack = ExitStack()

    @abstractmethod
    def attach(self, stack: ExitStack) -> None:
        """Put the hooks on; whatever is entered into `stack` is undone in the end."""

    def __enter__(self) -> "Decoder":
        try:
            self.attach(self.stack)
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stack.close()

    @abstractmethod
    def prefill(
        self, prompts: Prompts, n_new: int, edits: Sequence[AttentionEdit | None] | None = None
    ) -> None:
        """Take in all but the last token of each prompt, with room for `n_new` steps.

        Args:
            prompts: Token ids of each.
            n_new: At most so many steps.
            edits: An edit of the whole prefill for each prompt, or None.
        """

    @abstractmethod
    def step(
        self,
        tokens: Int[Tensor, " row"],
        edit: AttentionEdit | None = None,
        listener: RowListener | None = None,
        again: bool = False,
    ) -> StepOutput:
        """Feed one token a row.

        Args:
            tokens: `[row]`; fewer than there are rows feed the first ones alone.
            edit: Changes attention in this step.
            listener: Gets the rows instead of the decoder's own.
            again: The step was just run without `edit` and taken back; layers below the first that
                the edit touches need not run, and their rows are not sent.
        """

    @abstractmethod
    def snapshot(self, newest: bool = False) -> Any:
        """Where the cache is now, to be restored; `newest` copies what the last step wrote."""

    @abstractmethod
    def restore(self, snapshot: Any) -> None:
        """Take back every step since the snapshot."""

    @abstractmethod
    def keep(self, rows: list[int]) -> None:
        """Go on with these rows alone."""

    @abstractmethod
    def first_key(self, n_keys: int) -> Int[Tensor, " row"]:
        """Absolute position of the first of `n_keys` keys in the last step; below 0 in padding."""

    @abstractmethod
    def query_positions(self) -> Int[Tensor, " row"]:
        """Absolute position of the token that was fed last."""


@dataclass(frozen=True, eq=False)
class FinishedStep:
    """One finished step: which prompts took it, what it predicted, and what was observed.

    Attributes:
        rows: `[row]`, indices into the prompts.
        predicted: `[row]`, the next token of each.
        output: Logits and hidden states of each row.
        observed: `{what: [row, layer, head, channel]}`.
    """

    rows: list[int]
    predicted: list[int]
    output: StepOutput
    observed: Observations


@torch.inference_mode()
def greedy_decode(
    decoder: Decoder,
    recorder: RowRecorder,
    prompts: Prompts,
    max_new_tokens: int,
    stop_ids: Sequence[int],
) -> Iterator[FinishedStep]:
    """Decode all prompts together and yield every step.

    Args:
        decoder: Fresh decoder that sends its rows to `recorder.listen`.
        recorder: One evidence a prompt.
        prompts: Token ids `[pos]` each.
        max_new_tokens: At most so many steps of a row.
        stop_ids: End-of-sequence ids.

    Raises:
        NumericalError: NaN or infinite logits, or attention rows.
    """
    recorder.first_key, recorder.query_positions = decoder.first_key, decoder.query_positions
    decoder.prefill(prompts, max_new_tokens)
    rows = list(range(len(prompts)))
    tokens = [int(prompt[-1]) for prompt in prompts]
    for _ in range(max_new_tokens):
        output = decoder.step(torch.tensor(tokens))
        observed = recorder.end_step()
        tokens = greedy(output.logits).tolist()
        yield FinishedStep(rows, tokens, output, observed)
        going = [i for i, token in enumerate(tokens) if token not in stop_ids]
        if not going:
            return
        if len(going) < len(rows):
            decoder.keep(going)
            recorder.keep(going)
            rows, tokens = [rows[i] for i in going], [tokens[i] for i in going]


def greedy(logits: Float[Tensor, "row vocab"]) -> Int[Tensor, " row"]:
    """The lowest id of the largest logits, on the CPU.

    Raises:
        NumericalError: NaN or infinite logits.
    """
    best, tokens = logits.max(-1)
    if not bool(best.isfinite().all()):
        raise NumericalError(OVERFLOW)
    return tokens.cpu()
