"""One optimizer step, a plain function of model, optimizer, batch, task and phase, without a branch on kind."""

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Batch, Phase, Task
from headstart.engine import device
from headstart.model import Model


def step(model: Model, optimizer: torch.optim.Optimizer, batch: Batch, task: Task, phase: Phase) -> Float[Tensor, ""]:
    """The batch's mean loss before the step, still on its device. Losses are one number per example; the mean is taken here."""
    optimizer.zero_grad(set_to_none=True)
    with device.autocast(phase.precision, batch.inputs.device):
        outputs = model(batch.inputs)
    losses = task.loss(outputs.float(), batch.targets, phase.label_smoothing)
    weights = torch.ones_like(losses) if batch.weights is None else batch.weights
    loss = (losses * weights).sum() / weights.sum()
    loss.backward()
    if phase.clip < float("inf"):
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], phase.clip)
    optimizer.step()
    return loss.detach()
