"""The asymmetric loss."""

from math import exp, log

import pytest
import torch
from torch.nn import functional as F

from retrieval_lens.analysis.probes import asymmetric_loss
from retrieval_lens.errors import InputError, UnknownNameError

X = torch.tensor([[2.0, -1.0, -4.0], [0.5, -0.5, 3.0]])
Y = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def by_hand(x, y, gamma_neg, gamma_pos, clip):
    p = 1 / (1 + exp(-x))
    if y:
        return -((1 - p) ** gamma_pos) * log(p)
    shifted = max(p - clip, 0)
    return -(shifted**gamma_neg) * log(1 - shifted)


def test_two_labels_worked_on_paper():
    # p = 0.5: positive (1 − 0.5)² ln 2, negative 0.4³ · −ln 0.6
    loss = asymmetric_loss(
        torch.zeros(1, 2), Y[:1, :2], gamma_neg=3, gamma_pos=2, clip=0.1, reduction="sum"
    )
    assert loss.item() == pytest.approx(0.25 * 0.69314718 + 0.064 * 0.51082562)


@pytest.mark.parametrize(("reduction", "n"), [("mean", 6), ("sum", 1), ("batchmean", 2)])
@pytest.mark.parametrize("choices", [(4, 1, 0.05), (2, 0.5, 0.0), (0.5, 3, 0.2)])
def test_every_reduction_equals_the_formula(reduction, n, choices):
    pairs = zip(X.ravel().tolist(), Y.ravel().tolist(), strict=True)
    total = sum(by_hand(x, y, *choices) for x, y in pairs)
    names = dict(zip(("gamma_neg", "gamma_pos", "clip"), choices, strict=True))
    loss = asymmetric_loss(X, Y, **names, reduction=reduction)
    assert loss.item() == pytest.approx(total / n, rel=1e-5)


def test_without_focus_and_clip_it_is_binary_cross_entropy():
    x = torch.cat([X, torch.tensor([[80.0, -80.0, 0.0]])])
    y = torch.cat([Y, torch.tensor([[0.0, 1.0, 1.0]])])
    loss = asymmetric_loss(x, y, gamma_neg=0, gamma_pos=0, clip=0)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(x, y))


@pytest.mark.parametrize("choices", [(4, 1, 0.05), (4, 1, 0), (0, 0, 0.05), (0.5, 0.5, 0.05)])
def test_gradients(choices):
    def loss(x):
        names = dict(zip(("gamma_neg", "gamma_pos", "clip"), choices, strict=True))
        return asymmetric_loss(x, Y.double(), **names, reduction="sum")

    assert torch.autograd.gradcheck(loss, (X.double().requires_grad_(),))


def test_gradients_are_finite_far_out_and_where_a_negative_costs_nothing():
    x = torch.tensor([[-200.0, 200.0, -200.0, 200.0]], requires_grad=True)
    loss = asymmetric_loss(x, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), gamma_neg=0.5, reduction="sum")
    loss.backward()
    assert x.grad is not None and x.grad.isfinite().all() and loss.isfinite()
    assert x.grad[0, 0] == 0 and x.grad[0, 2] < -0.9


def test_detached_focus_changes_the_gradient_only():
    values, gradients = [], []
    for detach in (False, True):
        x = X.clone().requires_grad_()
        loss = asymmetric_loss(x, Y, detach_focus=detach, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        values.append(loss.item())
        gradients.append(gradient)
    assert values[0] == values[1]
    p = torch.sigmoid(X[0, 0])
    assert gradients[1][0, 0].item() == pytest.approx(float(-(1 - p) * (1 - p)))
    assert gradients[0][0, 0].item() == pytest.approx(float(-(1 - p) * (1 - p - p * p.log())))


def test_bad_arguments():
    with pytest.raises(UnknownNameError, match="no reduction 'none'; wanted one of mean"):
        asymmetric_loss(X, Y, reduction="none")
    for wrong in ({"gamma_neg": -1}, {"gamma_pos": -1}, {"clip": 1.0}, {"clip": -0.1}):
        with pytest.raises(InputError, match="wanted gammas from 0"):
            asymmetric_loss(X, Y, **wrong)
