"""One optimizer step, a plain function of model, optimizer, batch, task and phase, without a branch on kind."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Batch, Phase, Task
from headstart.engine import device, memory
from headstart.errors import HeadstartError
from headstart.model import Model
from headstart.train import adapters
from headstart.train.adapters import Adapter
from headstart.train.dropout import dropping


def step(
    model: Model,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    task: Task,
    phase: Phase,
    adapted: Sequence[Adapter] = (),
    number: int = 0,
) -> Float[Tensor, ""] | None:
    """The batch's mean loss before the step, still on its device; not a number where the gradient is none. Without enough
    memory None, and nothing has changed.

    Losses are one number per example; the mean is taken here.

    Args:
        number: of the step in its phase, by which dropout draws.
    """
    # beware: a forward that fails half-way has already moved the statistics of norms that learn them
    buffers = [] if phase.norms == "frozen" else [(buffer, buffer.clone()) for buffer in model.buffers()]
    with dropping(model, phase, number, batch.inputs.device):
        loss = memory.tried(lambda: gradients(model, batch, task, phase))
    if loss is None:
        model.zero_grad(set_to_none=True)
        for buffer, before in buffers:
            buffer.copy_(before)
        return None
    adapters.gradients(adapted)
    norm = torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], phase.clip)
    if memory.tried(lambda: stepped(optimizer)) is None:  # no smaller piece helps here, and some parameters may have moved
        raise HeadstartError(
            "memory does not suffice for the moments of the optimizer, which take twice the size of the model. "
            "Take a smaller backbone, or train fewer layers (freeze, then fit)."
        )
    adapters.merge(adapted)
    # the step that a gradient without a number has made must not look sound: asking would wait for the device
    return torch.where(norm.isfinite(), loss, torch.full_like(loss, float("nan")))


def stepped(optimizer: torch.optim.Optimizer) -> bool:
    """True, after the optimizer's step."""
    optimizer.step()
    return True


def gradients(model: Model, batch: Batch, task: Task, phase: Phase) -> Float[Tensor, ""]:
    """The mean loss of the batch, whose gradient the parameters then have.

    The batch goes through the model in pieces of nearly equal size whose gradients add up, so that memory follows the piece
    and not the batch. Where norm layers look at the other images no piece has a single one.
    """
    model.zero_grad(set_to_none=True)
    count = len(batch.ids)
    parts = -(-count // phase.piece)
    parts = parts if phase.norms == "frozen" else min(parts, max(1, count // 2))
    # beware: weights have mean one over the training part, not in each batch. Divided by their sum in the batch, the batches
    # would be no unbiased sample of the weighted objective, and an image alone in its batch would weigh nothing special
    ones = torch.ones(count, device=batch.inputs.device)
    weights = (ones if batch.weights is None else batch.weights) / count
    partner_weights = (ones if batch.partner_weights is None else batch.partner_weights) / count
    partners = batch.targets if batch.partners is None else batch.partners
    given = (batch.inputs, batch.targets, partners, weights, partner_weights)
    pieces = zip(*(each.tensor_split(parts) for each in given), strict=True)
    total = torch.zeros((), device=batch.inputs.device)
    for inputs, targets, partner, weight, partner_weight in pieces:
        with device.autocast(phase.precision, inputs.device):
            said = model.learned(inputs)
        losses = []
        for outputs in said:
            each = task.loss(outputs.float(), targets, phase.label_smoothing) * weight
            if batch.partners is not None:
                mixed = task.loss(outputs.float(), partner, phase.label_smoothing) * partner_weight
                each = torch.lerp(mixed, each, batch.share)
            losses.append(each.sum())
        torch.stack(losses).sum().backward()
        total += losses[-1].detach()
    return total
