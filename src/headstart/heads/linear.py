"""One linear layer on the features: the head that can be solved exactly, and that timm's models carry too."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

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


def make(features: int, outputs: int, seed: int, levels: Sequence[tuple[int, int]] = ()) -> nn.Module:
    """`outputs` linear functions of the features, with random, seeded weights and zero biases."""
    bound = 1 / math.sqrt(features)
    draw = torch.Generator().manual_seed(derive(seed, "head", "linear"))
    with torch.random.fork_rng(devices=[]):  # the layer's own first draw must not move the global generator
        layer = Linear(features, outputs)
    nn.init.uniform_(layer.weight, -bound, bound, generator=draw)
    nn.init.zeros_(layer.bias)
    return layer
