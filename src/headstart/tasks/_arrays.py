"""What the tasks share: outputs as arrays and in the precision that a loss needs, draws from what is known of their spread."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Outputs, Row


def precise(outputs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """In float32 at least."""
    return outputs if outputs.dtype == torch.float64 else outputs.float()


def array(values: Any) -> Float[np.ndarray, "*shape"]:
    """As float64 on the CPU."""
    return torch.as_tensor(values).detach().cpu().double().numpy()


def knows_spread(outputs: Outputs) -> bool:
    """Whether more is known than the mean."""
    return outputs.cov is not None or outputs.samples is not None


def divided(outputs: Outputs, temperature: float) -> Outputs:
    """Logits divided by a temperature, with their spread (Guo et al. 2017, "On calibration of modern neural networks")."""
    return Outputs(
        torch.as_tensor(outputs.mean) / temperature,
        None if outputs.cov is None else torch.as_tensor(outputs.cov) / temperature**2,
        None if outputs.samples is None else torch.as_tensor(outputs.samples) / temperature,
    )


OF_EVERY_TASK = ("id", "answer", "promised", "total", "aleatoric", "epistemic", "ood", "error")


def machine_row(prediction: Any, **own: Any) -> Row:
    """The fields that `predict --json` has for every task, then those of the task itself."""
    return {name: getattr(prediction, name) for name in OF_EVERY_TASK} | own
