"""One linear layer on the features: the head that can be solved exactly, and that timm's models carry too."""

import math

import torch
from torch import nn

from headstart.seeds import derive


def make(features: int, outputs: int, seed: int) -> nn.Module:
    """`outputs` linear functions of the features, with random, seeded weights and zero biases."""
    bound = 1 / math.sqrt(features)
    draw = torch.Generator().manual_seed(derive(seed, "head", "linear"))
    with torch.random.fork_rng(devices=[]):  # the layer's own first draw must not move the global generator
        layer = nn.Linear(features, outputs)
    nn.init.uniform_(layer.weight, -bound, bound, generator=draw)
    nn.init.zeros_(layer.bias)
    return layer
