"""Record forward passes while they run; see `RetrievalTracer.record`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from retrieval_lens.errors import InputError
from retrieval_lens.models import hook_names
from retrieval_lens.scores import StepScore
from retrieval_lens.tracing.listening import (
    Observed,
    as_positions,
    check_evidence,
    finish_positions,
    observe_pass,
)
from retrieval_lens.types import EvidencePositions, PositionScores, TokenIds


class PassRecorder:
    """Collects one sequence from forward passes of a bridge; see `RetrievalTracer.record`.

    Attributes:
        token_ids: `[pos]`, the tokens of the sequence so far.
    """

    def __init__(
        self,
        step_scores: Sequence[StepScore],
        layers: Sequence[int],
        evidence: Any,
        prompt_length: int | None = None,
        sliding: bool = False,
    ):
        self.sliding: bool = sliding
        self.step_scores: tuple[StepScore, ...] = tuple(step_scores)
        self.layers: list[int] = list(layers)
        self.evidence: EvidencePositions = as_positions(evidence)
        self.prompt_length: int | None = prompt_length
        check_evidence(self.evidence, int(self.evidence.max()) + 1 if len(self.evidence) else 0)
        self._restart()

    def _restart(self) -> None:
        self.token_ids: TokenIds = torch.zeros(0, dtype=torch.long)
        self.pending: TokenIds = torch.zeros(0, dtype=torch.long)
        self.first_pass: int = 0
        self.last_prediction: int = -1
        self.parts: dict[int, list[dict[str, Tensor]]] = {layer: [] for layer in self.layers}

    def hooks(self) -> list[tuple[str, Any]]:
        """The forward hooks that feed this recorder."""
        hooks = [(hook_names.EMBED_IN, self._on_tokens), (hook_names.UNEMBED_OUT, self._on_logits)]
        return hooks + [(hook_names.pattern(i), self._on_pattern(i)) for i in self.layers]

    def _on_tokens(self, token_ids: Tensor, hook: Any) -> None:
        if token_ids.shape[0] != 1:
            raise InputError(f"record takes one prompt at a time; got a batch of {len(token_ids)}")
        self.pending = token_ids[0].detach().cpu()

    def _on_pattern(self, layer: int) -> Any:
        def read(pattern: Tensor, hook: Any) -> None:
            if layer == self.layers[0]:
                self._take_tokens(*pattern.shape[-2:])
            n = len(self.token_ids)
            observed = observe_pass(self.step_scores, pattern[0].detach(), self.evidence, n)
            self.parts[layer].append(observed)

        return read

    def _take_tokens(self, n_queries: int, n_keys: int) -> None:
        """A pass begins: a new sequence if its keys are its own tokens, else it goes on."""
        if len(self.pending) != n_queries:
            raise InputError(
                f"a pass has {n_queries} positions, but {len(self.pending)} token ids were seen; "
                f"record passes that are fed token ids, not embeddings"
            )
        n_before, n_known = n_keys - n_queries, len(self.token_ids)
        if n_before == 0:
            self._restart_with(self.pending)
        elif n_before > len(self.token_ids) or (
            not self.sliding and n_before < len(self.token_ids)
        ):
            raise InputError(
                f"a pass continues a cache of {n_before} positions, but {n_known} were "
                f"recorded; record from the first pass on"
            )
        else:
            self.token_ids = torch.cat([self.token_ids, self.pending])

    def _restart_with(self, token_ids: TokenIds) -> None:
        self._restart()
        self.token_ids, self.pending = token_ids, token_ids
        self.first_pass = len(token_ids)

    def _on_logits(self, logits: Tensor, hook: Any) -> None:
        self.last_prediction = int(logits[0, -1].argmax())

    @property
    def scores(self) -> dict[str, PositionScores]:
        """`{name: [pos, layer, head]}` of the sequence recorded so far.

        Raises:
            InputError: No pass was recorded, or one that ended early.
            EvidenceError: The evidence lies outside the sequence.
        """
        if len(self.token_ids) == 0:
            raise InputError("nothing was recorded: run the model inside the block")
        check_evidence(self.evidence, len(self.token_ids))
        lengths = {sum(map(_n_rows, parts)) for parts in self.parts.values()}
        if lengths != {len(self.token_ids)}:
            raise InputError(
                "a pass did not run through every layer (stop_at_layer?); run whole passes"
            )
        names = self.parts[self.layers[0]][0]
        observed = {
            name: torch.stack(
                [torch.cat([part[name] for part in self.parts[i]]) for i in self.layers], dim=1
            )
            for name in names
        }
        after = self.token_ids.new_tensor([self.last_prediction])
        predictions = torch.cat([self.token_ids[1:], after])
        return finish_positions(
            self.step_scores,
            observed,
            self.token_ids,
            self.evidence,
            predictions,
            self.first_pass if self.prompt_length is None else self.prompt_length,
        )


def _n_rows(part: Observed) -> int:
    return len(next(iter(part.values())))
