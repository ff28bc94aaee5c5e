"""The training loop: a multi-layer perceptron from a hidden state to all heads at once.

1. Each hidden layer is linear, ReLU, dropout; the last layer gives a logit (or a score) a head.
2. Every epoch goes through the training pairs in a new order, with Adam and gradients clipped by
   their norm; the validation loss lowers the learning rate when it stops falling.
3. Weights, order and dropout come from one seed; the caller's random state is left as it was.

Source: section 3.4 and Appendix A.5, https://arxiv.org/abs/2602.11162
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from math import isfinite

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from retrieval_lens.analysis.probes.checkpoint import Checkpoint, Run
from retrieval_lens.analysis.probes.loss import asymmetric_loss, reduced
from retrieval_lens.analysis.probes.pairs import Pairs, Sides
from retrieval_lens.analysis.probes.settings import ProbeSettings
from retrieval_lens.errors import NumericalError
from retrieval_lens.progress import progress_bar


def mlp(d_model: int, n_labels: int, settings: ProbeSettings) -> nn.Sequential:
    """The network, on the CPU, freshly initialised."""
    sizes = (d_model, *settings.widths)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(settings.dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_labels))


def fit(
    pairs: Pairs, sides: Sides, settings: ProbeSettings, checkpoint: Checkpoint, progress: bool
) -> Run:
    """Train a network; it comes back in evaluation mode.

    Raises:
        NumericalError: A loss is NaN or infinite.
    """
    with _seeded(settings.seed):
        network = mlp(pairs.hidden.shape[1], pairs.targets.shape[1], settings).to(settings.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
        run = Run(network, optimizer, plateau(optimizer, patience=settings.patience))
        checkpoint.restore(run)
        with progress_bar("training the probe", settings.epochs, progress) as advance:
            advance(len(run.history))
            while _goes_on(run, settings):
                _epoch(run, pairs, sides, settings)
                checkpoint.save(run)
                advance()
    network.load_state_dict(run.best or network.state_dict())
    network.eval().requires_grad_(False)
    return run


def _goes_on(run: Run, settings: ProbeSettings) -> bool:
    n, wait = len(run.history), settings.early_stopping
    return n < settings.epochs and (wait is None or n - run.best_epoch < wait)


def _epoch(run: Run, pairs: Pairs, sides: Sides, settings: ProbeSettings) -> None:
    rate, number = run.optimizer.param_groups[0]["lr"], len(run.history) + 1
    train = _train(run, pairs, sides.train[torch.randperm(len(sides.train))], settings)
    validation = validation_loss(run.network, pairs, sides.validation, settings)
    if not (isfinite(train) and isfinite(validation)):
        raise NumericalError(
            f"epoch {number}: the training loss is {train}, the validation loss {validation}; "
            f"lower learning_rate={settings.learning_rate}"
        )
    best = min((row["val_loss"] for row in run.history), default=float("inf"))
    if settings.early_stopping is not None and validation < best:
        run.best = {name: value.clone() for name, value in run.network.state_dict().items()}
        run.best_epoch = number
    run.scheduler.step(validation)
    losses = {"train_loss": train, "val_loss": validation, "learning_rate": rate}
    run.history.append({"epoch": number, **losses})


def _train(run: Run, pairs: Pairs, rows: Int[Tensor, " _"], settings: ProbeSettings) -> float:
    """One pass over `rows`; the mean loss of its batches, weighted by their size."""
    run.network.train()
    losses = []
    for batch in rows.split(settings.batch_size):
        run.optimizer.zero_grad()
        loss = _loss(run.network, pairs, batch, settings)
        loss.backward()
        nn.utils.clip_grad_norm_(run.network.parameters(), settings.clip_norm)
        run.optimizer.step()
        losses.append(loss.detach() * len(batch))
    return float(torch.stack(losses).sum()) / len(rows)


@torch.no_grad()
def validation_loss(
    network: nn.Module, pairs: Pairs, rows: Int[Tensor, " _"], settings: ProbeSettings
) -> float:
    """The mean loss of batches of `rows`, weighted by their size, without dropout."""
    network.eval()
    losses = [
        float(_loss(network, pairs, batch, settings)) * len(batch)
        for batch in rows.split(settings.batch_size)
    ]
    return sum(losses) / len(rows)


def _loss(
    network: nn.Module, pairs: Pairs, rows: Int[Tensor, " _"], settings: ProbeSettings
) -> Float[Tensor, ""]:
    out = network(pairs.hidden[rows].to(settings.device))
    targets = pairs.targets[rows].to(settings.device)
    if not settings.classifies:
        return reduced(F.mse_loss(out, targets, reduction="none"), settings.reduction)
    return asymmetric_loss(
        out,
        targets,
        gamma_neg=settings.gamma_neg,
        gamma_pos=settings.gamma_pos,
        clip=settings.clip,
        reduction=settings.reduction,
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from `seed` inside, the caller's outside."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
