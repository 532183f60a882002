"""One linear layer on the features: the head that can be solved exactly, and that timm's models carry too."""

import math

import torch
from torch import nn

from headstart.seeds import derive


def make(features: int, outputs: int, seed: int) -> nn.Module:
    """`outputs` linear functions of the features, with random, seeded weights and zero biases."""
    with torch.device("meta"):
        layer = nn.Linear(features, outputs)
    layer.to_empty(device="cpu")
    bound = 1 / math.sqrt(features)
    nn.init.uniform_(layer.weight, -bound, bound, generator=torch.Generator().manual_seed(derive(seed, "head", "linear")))
    nn.init.zeros_(layer.bias)
    return layer
