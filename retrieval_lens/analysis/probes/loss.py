"""The asymmetric loss for many labels, of which few are true.

1. p = sigmoid(x) is the probability of a label, p_m = max(p − clip, 0) the shifted one: negatives
   below `clip` cost nothing.
2. L = −[y (1 − p)^γ+ log p + (1 − y) p_m^γ− log(1 − p_m)].
3. Logarithms come from log-sigmoid, or from 1 − p_m, which is at least `clip`: none needs an
   epsilon.

Source: Ridnik et al. 2021, https://arxiv.org/abs/2009.14119
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from retrieval_lens.errors import InputError, UnknownNameError

REDUCTIONS = ("mean", "sum", "batchmean")


def asymmetric_loss(
    logits: Float[Tensor, "batch label"],
    targets: Float[Tensor, "batch label"],
    *,
    gamma_neg: Any = 4,
    gamma_pos: Any = 1,
    clip: Any = 0.05,
    reduction: str = "mean",
    detach_focus: bool = False,
) -> Float[Tensor, ""]:
    """The asymmetric loss of logits against labels.

    Args:
        logits: `[batch, label]`, before the sigmoid.
        targets: `[batch, label]`, 0 or 1.
        gamma_neg: γ−, how much easy negatives are played down.
        gamma_pos: γ+, the same of positives.
        clip: Negatives with a probability below it cost nothing.
        reduction: `mean` over all, `sum`, or `batchmean` (sum over labels, mean over the batch).
        detach_focus: Take the weights (1 − p)^γ+ and p_m^γ− as constants when differentiating.
            The code of its authors has this as an option; the formula has not.

    Raises:
        InputError: A negative gamma, or a clip outside [0, 1).
        UnknownNameError: Another reduction.

    Examples:
        >>> loss = asymmetric_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        >>> round(loss.item(), 4)  # (0.5 ln 2 − 0.45⁴ ln 0.55) / 2
        0.1855
    """
    if min(gamma_neg, gamma_pos) < 0 or not 0 <= clip < 1:
        raise InputError(
            f"wanted gammas from 0 and a clip in [0, 1); got {gamma_neg}, {gamma_pos} and {clip}"
        )
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive_focus = torch.exp(gamma_pos * log_not_p)
    if clip == 0:
        negative_focus = torch.exp(gamma_neg * log_p)
    else:
        p = torch.sigmoid(logits)
        # where the shifted probability is 0, a constant keeps 0 ** (γ− − 1) out of the gradient
        shifted = torch.where(p > clip, p - clip, clip)
        negative_focus = torch.where(p > clip, shifted**gamma_neg, 0.0)
        log_not_p = torch.log1p(-shifted)
    if detach_focus:
        positive_focus, negative_focus = positive_focus.detach(), negative_focus.detach()
    positive, negative = positive_focus * log_p, negative_focus * log_not_p
    return reduced(-(targets * positive + (1 - targets) * negative), reduction)


def reduced(loss: Float[Tensor, "batch label"], reduction: str) -> Float[Tensor, ""]:
    """One number of the losses of each label.

    Raises:
        UnknownNameError: Another reduction.
    """
    if reduction not in REDUCTIONS:
        raise UnknownNameError(f"no reduction {reduction!r}; wanted one of {', '.join(REDUCTIONS)}")
    if reduction == "batchmean":
        return loss.sum(1).mean()
    return loss.mean() if reduction == "mean" else loss.sum()
