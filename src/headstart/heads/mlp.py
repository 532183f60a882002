"""Two linear layers with a GELU between them: for labels that no plane separates in feature space."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headstart.heads._head import Head
from headstart.seeds import derive

LARGEST_HIDDEN = 512


class Mlp(Head, nn.Sequential):
    """The layers, one after another."""

    @property
    def final(self) -> nn.Linear:
        """The second linear layer."""
        layer = self[-1]
        assert isinstance(layer, nn.Linear), "an mlp ends in a linear layer"
        return layer

    def given(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch hidden"]:
        """What the layers before the last one make of the features."""
        return self[:-1](features)


def make(features: int, outputs: int, seed: int, levels: Sequence[tuple[int, int]] = ()) -> nn.Module:
    """`outputs` functions of the features through one hidden layer, with random, seeded weights and zero biases."""
    hidden = min(LARGEST_HIDDEN, features)
    with torch.device("meta"):
        first, last = nn.Linear(features, hidden), nn.Linear(hidden, outputs)
    head = Mlp(nn.LayerNorm(features), first.to_empty(device="cpu"), nn.GELU(), last.to_empty(device="cpu"))
    generator = torch.Generator().manual_seed(derive(seed, "head", "mlp"))
    for layer in head:
        if isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.zeros_(layer.bias)
    return head
