"""One optimizer step, a plain function of model, optimizer, batch, task and phase, without a branch on kind."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Batch, Phase, Task
from headstart.engine import device
from headstart.model import Model
from headstart.train import adapters
from headstart.train.adapters import Adapter


def step(
    model: Model, optimizer: torch.optim.Optimizer, batch: Batch, task: Task, phase: Phase, adapted: Sequence[Adapter] = ()
) -> Float[Tensor, ""]:
    """The batch's mean loss before the step, still on its device. Losses are one number per example; the mean is taken here.

    The batch goes through the model in pieces whose gradients add up, so that memory follows the piece and not the batch;
    all at once where norm layers look at the whole batch.
    """
    model.zero_grad(set_to_none=True)
    weights = torch.ones(len(batch.ids), device=batch.inputs.device) if batch.weights is None else batch.weights
    size = phase.piece if phase.norms == "frozen" else len(batch.ids)
    partners = batch.targets if batch.partners is None else batch.partners
    pieces = zip(*(each.split(size) for each in (batch.inputs, batch.targets, partners, weights / weights.sum())), strict=True)
    total = torch.zeros((), device=batch.inputs.device)
    for inputs, targets, partner, share in pieces:
        with device.autocast(phase.precision, inputs.device):
            outputs = model(inputs)
        losses = task.loss(outputs.float(), targets, phase.label_smoothing)
        if batch.partners is not None:
            losses = torch.lerp(task.loss(outputs.float(), partner, phase.label_smoothing), losses, batch.share)
        loss = (losses * share).sum()
        loss.backward()
        total += loss.detach()
    adapters.gradients(adapted)
    if phase.clip < float("inf"):
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], phase.clip)
    optimizer.step()
    adapters.merge(adapted)
    return total
