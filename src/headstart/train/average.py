"""The exponential average of the weights: what is judged and kept is the average, what goes on training are the weights.

Averaging over the last steps takes the noise of single steps away, as a smaller learning rate would, at no cost in progress
(Polyak & Juditsky 1992). An empty average is none.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from headstart.model import Model


def begun(model: Model, decay: float | None) -> dict[str, Tensor]:
    """Copies of what training can change, by the names of `state_dict`; nothing without a decay.

    That is weights that take gradients, and the statistics of norms, which belong to the weights they were taken with.
    """
    if decay is None:
        return {}
    fixed = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name not in fixed}
    return {name: tensor.detach().clone() for name, tensor in tensors.items() if tensor.is_floating_point()}


@torch.no_grad()
def update(average: Mapping[str, Tensor], model: Model, decay: float | None, step: int) -> None:
    """Moves the average towards the weights after step number `step`, the first being 1.

    average = d average + (1 - d) weights,   d = min(decay, (1 + step) / (10 + step))

    so that it soon forgets the weights of the start.
    """
    if decay is None:
        return
    now, share = model.state_dict(), 1 - min(decay, (1 + step) / (10 + step))
    for name, tensor in average.items():
        tensor.lerp_(now[name], share)


@contextmanager
def holding(model: Model, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with these in place of some of its tensors; gives it its own back."""
    own = {name: tensor for name, tensor in model.state_dict().items() if name in tensors}
    before = {name: tensor.clone() for name, tensor in own.items()}
    try:
        _copy(tensors, own)
        yield
    finally:
        _copy(before, own)


@torch.no_grad()
def _copy(given: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    for name, tensor in into.items():
        tensor.copy_(given[name])
