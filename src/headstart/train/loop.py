"""The training loop: a generator of facts. Observers watch it, recipes decide what follows, nobody reaches in."""

import math
import time
from collections.abc import Callable, Iterator

import torch

from headstart.core import Batch, EpochDone, Phase, StepDone, Task
from headstart.errors import HeadstartError
from headstart.model import Model, norm_mode, set_trainable
from headstart.train.optim import make_optimizer, set_rates
from headstart.train.schedule import warmup_then_linear
from headstart.train.step import step

Feed = Callable[[int], Iterator[Batch]]
"""The batches of an epoch, by the epoch's number."""


def run(
    model: Model, phase: Phase, feed: Feed, task: Task, steps_per_epoch: int, first_epoch: int
) -> Iterator[StepDone | EpochDone]:
    """Trains through the phase, epoch by epoch; after each `EpochDone` the caller may evaluate or stop.

    The learning rate is a function of the share of steps done, so it reaches zero with the last step of the last epoch.

    Raises:
        HeadstartError: when the loss is no longer a number.
    """
    set_trainable(model, phase.first_stage)
    norm_mode(model, phase.norms)  # decides which norms learn, so before the optimizer is made
    optimizer = make_optimizer(model, phase)
    total, done = steps_per_epoch * phase.epochs, 0
    for epoch in range(first_epoch, first_epoch + phase.epochs):
        norm_mode(model, phase.norms)
        started, losses, counts, lr = time.perf_counter(), [], [], 0.0
        for batch in feed(epoch):
            # Beware: the share is taken in the middle of the step, or the first step of a phase would have rate zero.
            lr = set_rates(optimizer, warmup_then_linear((done + 0.5) / total, phase.warmup))
            losses.append(step(model, optimizer, batch, task, phase))
            counts.append(len(batch.ids))
            done += 1
            yield StepDone(epoch, done, total, losses[-1], lr)
        train_loss = float((torch.stack(losses).double().cpu() * torch.tensor(counts)).sum() / sum(counts))
        if not math.isfinite(train_loss):
            raise HeadstartError(
                f"the training loss of epoch {epoch} is {train_loss}: the learning rate is too high for these images or this "
                f"backbone (peak {phase.lr:g}). Nothing is lost: the best row so far is kept. Try again with base_lr={phase.lr / 5:.1g}."
            )
        yield EpochDone(epoch, train_loss, lr, time.perf_counter() - started)
