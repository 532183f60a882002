"""One linear layer on the features: the head that can be solved exactly, and that timm's models carry too."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from headstart.heads._head import Head
from headstart.seeds import derive


class Linear(Head, nn.Linear):
    """`outputs` linear functions of the features."""

    solved_rate = 0.2
    """A solved head needs no large steps."""

    @property
    def solvable(self) -> nn.Linear:
        """All of it."""
        return self

    @property
    def final(self) -> nn.Linear:
        """All of it."""
        return self

    def as_rows(
        self, rows: Float[np.ndarray, "batch features"], targets: np.ndarray
    ) -> tuple[Float[np.ndarray, "batch features"], np.ndarray]:
        """The features of each example, and what is known of it."""
        return rows, targets

    def guided(self, first: int, seed: int) -> "Guided":
        """The same layer beside its guide."""
        return Guided(self, _drawn(first, self.out_features, seed, "guide"))


class Guided(Linear):
    """A linear layer on the features of all layers of a backbone, which learns through another one: its guide, on those of the last alone.

    Whoever sees all layers has little left to learn from the training images, and what little there is would move early layers. The guide
    has the loss of a head that sees the last layer, so the backbone learns as it does with such a one, and this layer follows (docs/log.md).
    """

    def __init__(self, layer: Linear, guide: Linear) -> None:
        with torch.device("meta"):
            super().__init__(layer.in_features, layer.out_features)
        self.weight, self.bias = layer.weight, layer.bias
        self.through = guide

    @property
    def guide(self) -> nn.Linear:
        """It sees the first `in_features` of the features."""
        return self.through

    def learned(self, features: Float[Tensor, "batch features"]) -> list[Tensor]:
        """What the guide says, and what this layer says of features that learn nothing from it."""
        return [self.through(features[:, : self.through.in_features]), self(features.detach())]

    def filled(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Of before there were guides: one that says of the last layer what the head says of it."""
        if "weight" not in tensors or "through.weight" in tensors:
            return tensors
        first = tensors["weight"][:, : self.through.in_features]
        return {**tensors, "through.weight": first, "through.bias": tensors["bias"]}


def make(features: int, outputs: int, seed: int, levels: Sequence[tuple[int, int]] = ()) -> nn.Module:
    """`outputs` linear functions of the features, with random, seeded weights and zero biases."""
    return _drawn(features, outputs, seed, "linear")


def _drawn(features: int, outputs: int, seed: int, what: str) -> Linear:
    bound = 1 / math.sqrt(features)
    draw = torch.Generator().manual_seed(derive(seed, "head", what))
    with torch.random.fork_rng(devices=[]):  # the layer's own first draw must not move the global generator
        layer = Linear(features, outputs)
    nn.init.uniform_(layer.weight, -bound, bound, generator=draw)
    nn.init.zeros_(layer.bias)
    return layer
