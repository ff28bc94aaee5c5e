"""Score every query position of forward passes that somebody else has run.

Every query position is a row of its own: position q sees the keys up to q, and its local window
ends at q. y at q is the token that follows in the sequence; after the last one, the arg-max of the
logits where they were seen.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
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
    predictions: Any,
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
    layers = [observe_pass(scores, pattern, evidence, n) for pattern in patterns]
    observed = {name: torch.stack([x[name] for x in layers], dim=1) for name in layers[0]}
    return finish_positions(scores, observed, token_ids, evidence, predictions, prompt_length)


def as_positions(evidence: Any) -> EvidencePositions:
    """Evidence as positions on the CPU.

    Raises:
        EvidenceError: It is a mask or holds fractions: positions are wanted.
    """
    tensor = torch.as_tensor(evidence)
    if tensor.numel() and (tensor.is_floating_point() or tensor.dtype == torch.bool):
        raise EvidenceError(
            f"evidence holds {tensor.dtype} values; give positions, as mask.nonzero().flatten()"
        )
    return tensor.to("cpu", torch.long).flatten()


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
    n_tokens: int,
) -> Observed:
    """What the scores observe of one layer's rows, `{what: [query_pos, head, channel]}`.

    The last key and the last query are at position `n_tokens - 1`: a pass may continue a cache, and
    a sliding window holds the newest keys.

    Raises:
        NumericalError: NaN in the pattern.
    """
    if not bool(pattern.isfinite().all()):
        raise NumericalError("an attention pattern holds NaN or infinity; nothing was scored")
    n_queries, n_keys = pattern.shape[-2:]
    device = pattern.device
    keys = torch.arange(n_tokens - n_keys, n_tokens, device=device).expand(n_queries, -1)
    rows = AttentionRows(
        rearrange(pattern.float(), "head query key -> query head key"),
        keys,
        torch.arange(n_tokens - n_queries, n_tokens, device=device),
        torch.isin(keys, evidence.to(device)),
    )
    observers = {score.observes: score for score in scores}
    return {name: score.observe(rows).cpu() for name, score in observers.items()}


def finish_positions(
    scores: Sequence[StepScore],
    observed: Observed,
    token_ids: TokenIds,
    evidence: EvidencePositions,
    predictions: Any,
    prompt_length: int | None,
) -> dict[str, PositionScores]:
    """Scores of every position of one sequence, from what was observed."""
    token_ids = token_ids.cpu()
    if predictions is None:
        predictions = torch.cat([token_ids[1:], token_ids.new_tensor([-1])])
    predictions = torch.as_tensor(predictions, dtype=torch.long).cpu()
    if len(predictions) != len(token_ids):
        raise InputError(f"{len(predictions)} predictions for {len(token_ids)} tokens")
    positions = torch.arange(len(token_ids))
    steps = DecodedSteps(token_ids, prompt_length or 0, positions, predictions, evidence)
    return {score.name: score.finish(observed[score.observes], steps) for score in scores}
