"""The arithmetic of the proofs: what an attention row must be, how far logits have moved."""

import torch
from jaxtyping import Float
from torch import Tensor

# Half precision rounds each weight, and a row adds up many of them.
_TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 2e-2}


def row_fault(pattern: Float[Tensor, "batch head query_pos key_pos"]) -> str | None:
    """What is wrong with an attention pattern, with the figure, or None.

    Args:
        pattern: Attention after softmax; as many keys as queries.

    Returns:
        A phrase for an error message.
    """
    tolerance = _TOLERANCE.get(pattern.dtype, 1e-3)
    weights = pattern.float()
    if not torch.isfinite(weights).all():
        return "its attention holds NaN or infinity"
    off = (weights.sum(-1) - 1).abs().max().item()
    if off > tolerance:
        return f"its attention rows miss a sum of 1 by up to {off:.3g} (allowed: {tolerance:g})"
    ahead = torch.triu(weights.abs(), diagonal=1).max().item()
    if ahead > tolerance:
        return f"it attends to later tokens, with a weight of {ahead:.3g}"
    return None


def distance(
    one: Float[Tensor, "batch pos vocabulary"], other: Float[Tensor, "batch pos vocabulary"]
) -> float:
    """The largest difference between two sets of logits, in logits."""
    return (one - other).abs().max().item()
