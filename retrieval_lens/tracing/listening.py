"""Score other people's forward passes: a finished cache, or passes while they run.

Every query position is a row of its own: position q sees the keys up to q, and its local window
ends at q. y at q is the token that follows in the sequence; after the last one, the arg-max of the
logits where they were seen.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from retrieval_lens.errors import EvidenceError, InputError, NumericalError
from retrieval_lens.models import hook_names
from retrieval_lens.scores import AttentionRows, DecodedSteps, StepScore
from retrieval_lens.types import EvidencePositions, PositionScores, TokenIds

Observed = dict[str, Tensor]  # {what: [pos, layer, head, channel]}


def patterns_of(cache: Any, layers: Sequence[int]) -> list[Float[Tensor, "head query_pos key_pos"]]:
    """The attention patterns in a cache, layer by layer, without their batch dimension.

    Raises:
        InputError: A layer is missing, or the batch holds more than one prompt.
    """
    patterns = []
    for layer in layers:
        name = hook_names.pattern(layer)
        if name not in cache:
            raise InputError(
                f"the cache lacks {name!r}; run_with_cache must keep every layer's hook_pattern"
            )
        pattern = cache[name]
        if pattern.ndim == 4 and len(pattern) != 1:
            raise InputError(f"the cache holds a batch of {len(pattern)}; run one prompt at a time")
        patterns.append(pattern[0] if pattern.ndim == 4 else pattern)
    return patterns


def scores_from_patterns(
    scores: Sequence[StepScore],
    patterns: Sequence[Float[Tensor, "head query_pos key_pos"]],
    token_ids: TokenIds,
    evidence: EvidencePositions,
    predictions: Int[Tensor, " _"] | None,
    prompt_length: int | None,
) -> dict[str, PositionScores]:
    """Scores of every query position; see `RetrievalTracer.scores_from_cache`."""
    n = len(token_ids)
    for pattern in patterns:
        if pattern.shape[-2:] != (n, n):
            raise InputError(
                f"a pattern has {tuple(pattern.shape[-2:])} query and key positions, but token_ids "
                f"has {n} tokens"
            )
    check_evidence(evidence, n)
    layers = [observe_pass(scores, pattern, evidence) for pattern in patterns]
    observed = {name: torch.stack([x[name] for x in layers], dim=1) for name in layers[0]}
    return finish_positions(scores, observed, token_ids, evidence, predictions, prompt_length)


def check_evidence(evidence: EvidencePositions, n_tokens: int) -> None:
    """Refuse evidence that is empty or outside the sequence.

    Raises:
        EvidenceError: Either of the two.
    """
    if len(evidence) == 0:
        raise EvidenceError("the evidence is empty; give the positions of at least one token")
    if int(evidence.min()) < 0 or int(evidence.max()) >= n_tokens:
        raise EvidenceError(
            f"evidence reaches from {int(evidence.min())} to {int(evidence.max())}, but the "
            f"sequence has positions 0 to {n_tokens - 1}"
        )


def observe_pass(
    scores: Sequence[StepScore],
    pattern: Float[Tensor, "head query_pos key_pos"],
    evidence: EvidencePositions,
) -> Observed:
    """What the scores observe of one layer's rows, `{what: [query_pos, head, channel]}`.

    The last key is at the position of the last query, so a pass may continue a cache.

    Raises:
        NumericalError: NaN in the pattern.
    """
    if not bool(pattern.isfinite().all()):
        raise NumericalError("an attention pattern holds NaN or infinity; nothing was scored")
    n_queries, n_keys = pattern.shape[-2:]
    device = pattern.device
    keys = torch.arange(n_keys, device=device).expand(n_queries, -1)
    rows = AttentionRows(
        rearrange(pattern.float(), "head query key -> query head key"),
        keys,
        torch.arange(n_keys - n_queries, n_keys, device=device),
        torch.isin(keys, evidence.to(device)),
    )
    observers = {score.observes: score for score in scores}
    return {name: score.observe(rows).cpu() for name, score in observers.items()}


def finish_positions(
    scores: Sequence[StepScore],
    observed: Observed,
    token_ids: TokenIds,
    evidence: EvidencePositions,
    predictions: Int[Tensor, " _"] | None,
    prompt_length: int | None,
) -> dict[str, PositionScores]:
    """Scores of every position of one sequence, from what was observed."""
    token_ids = token_ids.cpu()
    if predictions is None:
        predictions = torch.cat([token_ids[1:], token_ids.new_tensor([-1])])
    if len(predictions) != len(token_ids):
        raise InputError(f"{len(predictions)} predictions for {len(token_ids)} tokens")
    positions = torch.arange(len(token_ids))
    steps = DecodedSteps(token_ids, prompt_length or 0, positions, predictions.cpu(), evidence)
    return {score.name: score.finish(observed[score.observes], steps) for score in scores}


class PassRecorder:
    """Collects one sequence from forward passes of a bridge; see `RetrievalTracer.record`.

    Attributes:
        token_ids: `[pos]`, the tokens of the sequence so far.
    """

    def __init__(
        self,
        step_scores: Sequence[StepScore],
        layers: Sequence[int],
        evidence: Sequence[int] | EvidencePositions,
    ):
        self.step_scores, self.layers = tuple(step_scores), list(layers)
        self.evidence = torch.as_tensor(evidence, dtype=torch.long)
        check_evidence(self.evidence, int(self.evidence.max()) + 1 if len(self.evidence) else 0)
        self._restart()

    def _restart(self) -> None:
        self.token_ids = torch.zeros(0, dtype=torch.long)
        self.prompt_length = 0
        self.last_prediction = -1
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
            n_queries, n_keys = pattern.shape[-2:]
            if layer == self.layers[0]:
                self._take_tokens(n_keys - n_queries)
            self.parts[layer].append(
                observe_pass(self.step_scores, pattern[0].detach(), self.evidence)
            )

        return read

    def _take_tokens(self, n_cached: int) -> None:
        if n_cached != len(self.token_ids):
            if n_cached != 0:
                raise InputError(
                    f"a pass continues a cache of {n_cached} positions, but {len(self.token_ids)} "
                    f"were recorded; record from the first pass on"
                )
            self._restart()
        if len(self.token_ids) == 0:
            self.prompt_length = len(self.pending)
        self.token_ids = torch.cat([self.token_ids, self.pending])

    def _on_logits(self, logits: Tensor, hook: Any) -> None:
        self.last_prediction = int(logits[0, -1].argmax())

    @property
    def scores(self) -> dict[str, PositionScores]:
        """`{name: [pos, layer, head]}` of the sequence recorded so far.

        Raises:
            InputError: No pass was recorded.
            EvidenceError: The evidence lies outside the sequence.
        """
        if len(self.token_ids) == 0:
            raise InputError("nothing was recorded: run the model inside the block")
        check_evidence(self.evidence, len(self.token_ids))
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
            self.prompt_length,
        )
