"""One optimizer step, a plain function of model, optimizer, batch, task and phase, without a branch on kind."""

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Batch, Phase, Task
from headstart.engine import device
from headstart.model import Model


def step(model: Model, optimizer: torch.optim.Optimizer, batch: Batch, task: Task, phase: Phase) -> Float[Tensor, ""]:
    """The batch's mean loss before the step, still on its device. Losses are one number per example; the mean is taken here.

    The batch goes through the model in pieces whose gradients add up, so that memory follows the piece and not the batch;
    all at once where norm layers look at the whole batch.
    """
    optimizer.zero_grad(set_to_none=True)
    # beware: weights have mean one over the training part, not in each batch. Divided by their sum in the batch, the batches
    # would be no unbiased sample of the weighted objective, and an image alone in its batch would weigh nothing special
    ones = torch.ones(len(batch.ids), device=batch.inputs.device)
    weights = (ones if batch.weights is None else batch.weights) / len(batch.ids)
    partner_weights = (ones if batch.partner_weights is None else batch.partner_weights) / len(batch.ids)
    size = phase.piece if phase.norms == "frozen" else len(batch.ids)
    partners = batch.targets if batch.partners is None else batch.partners
    parts = (batch.inputs, batch.targets, partners, weights, partner_weights)
    total = torch.zeros((), device=batch.inputs.device)
    for inputs, targets, partner, weight, partner_weight in zip(*(each.split(size) for each in parts), strict=True):
        with device.autocast(phase.precision, inputs.device):
            outputs = model(inputs)
        losses = task.loss(outputs.float(), targets, phase.label_smoothing) * weight
        if batch.partners is not None:
            losses = torch.lerp(task.loss(outputs.float(), partner, phase.label_smoothing) * partner_weight, losses, batch.share)
        loss = losses.sum()
        loss.backward()
        total += loss.detach()
    if phase.clip < float("inf"):
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], phase.clip)
    optimizer.step()
    return total
