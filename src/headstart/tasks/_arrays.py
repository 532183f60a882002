"""What the tasks share: outputs as arrays and in the precision that a loss needs, draws from what is known of their spread."""

from dataclasses import replace
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
    return replace(
        outputs,
        mean=torch.as_tensor(outputs.mean) / temperature,
        cov=None if outputs.cov is None else torch.as_tensor(outputs.cov) / temperature**2,
        samples=None if outputs.samples is None else torch.as_tensor(outputs.samples) / temperature,
    )


UNLIKE = 0.975
"""From here on an example is said to be unlike: of those that are like what was learned from, one in forty."""


def unlike_in_words(ood: float | None) -> str:
    """What is said to people of an example that is unlike; nothing of others."""
    return ", but unlike all that it learned from" if ood is not None and ood >= UNLIKE else ""


OF_EVERY_TASK = ("id", "answer", "promised", "total", "aleatoric", "epistemic", "ood", "error")


def told_unlike(predictions: list[Any], outputs: Outputs) -> list[Any]:
    """The predictions with how unlike what was learned from their examples are, where that is known."""
    if outputs.unlike is None:
        return predictions
    return [replace(one, ood=value) for one, value in zip(predictions, array(outputs.unlike).tolist(), strict=True)]


def machine_row(prediction: Any, **own: Any) -> Row:
    """The fields that `predict --json` has for every task, then those of the task itself."""
    return {name: getattr(prediction, name) for name in OF_EVERY_TASK} | own
