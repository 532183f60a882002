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
    weights = torch.ones(len(batch.ids), device=batch.inputs.device) if batch.weights is None else batch.weights
    shares = weights / weights.sum()
    size = phase.piece if phase.norms == "frozen" else len(batch.ids)
    total = torch.zeros((), device=batch.inputs.device)
    for inputs, targets, share in zip(batch.inputs.split(size), batch.targets.split(size), shares.split(size), strict=True):
        with device.autocast(phase.precision, inputs.device):
            outputs = model(inputs)
        loss = (task.loss(outputs.float(), targets, phase.label_smoothing) * share).sum()
        loss.backward()
        total += loss.detach()
    if phase.clip < float("inf"):
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], phase.clip)
    optimizer.step()
    return total
