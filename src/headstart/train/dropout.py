"""Dropout whose draws are a function of the seed and the step, so that an interrupted training ends as it would have."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from headstart.core import Phase
from headstart.model import Model
from headstart.seeds import derive


def layers(model: Model) -> list[nn.Dropout]:
    """The dropout layers that the backbone was made with, whatever share they drop by themselves."""
    return [module for module in model.backbone.modules() if isinstance(module, nn.Dropout)]


@contextmanager
def dropping(model: Model, phase: Phase, number: int, device: torch.device) -> Iterator[None]:
    """Within, the dropout layers of stages that train drop the share of the phase, by draws of this step; as before afterwards.

    (Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".)
    """
    if not phase.dropout:
        yield
        return
    found = layers(model)
    shares = [layer.p for layer in found]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        (torch.manual_seed if device.type == "cuda" else torch.default_generator.manual_seed)(
            derive(phase.seed, "dropout", number)
        )
        for layer in found:
            layer.p = phase.dropout
        try:
            yield
        finally:
            for layer, share in zip(found, shares, strict=True):
                layer.p = share
