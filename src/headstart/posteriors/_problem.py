"""What a posterior is fitted to: labelled examples as the head sees them, those that trained it and those that did not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Task
from headstart.places import evenly


@dataclass(frozen=True)
class Labelled:
    """What the last layer of a head is given of some examples, what the head says of them, and what is true."""

    given: Float[Tensor, "batch inputs"]
    said: Float[Tensor, "batch outputs *places"]
    targets: Any

    def and_those(self, others: "Labelled") -> "Labelled":
        """These and the others after them."""
        pairs = ((self.given, others.given), (self.said, others.said), (self.targets, others.targets))
        return Labelled(*(torch.cat(pair) for pair in pairs))

    def some(self, most: int) -> "Labelled":
        """At most so many of them, evenly over their order."""
        count = len(self.said)
        if count <= most:
            return self
        chosen = evenly(count, most)
        return Labelled(self.given[chosen], self.said[chosen], self.targets[chosen])


@dataclass(frozen=True)
class Problem:
    """A trained head with the examples that it was trained on, and held-out ones."""

    task: Task
    train: Labelled
    held: Labelled
    precision: Float[np.ndarray, " outputs"]
    """Of the prior of each output's weights, as `SolvedHead.precision`."""
    count: int
    """How many training examples there are, of which `train` are some."""
    turned: Any = None
    """`SolvedHead.turned` of `train.given`, where the head was solved on just these."""
