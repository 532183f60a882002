"""No posterior of the weights, but what is said made as sure as held-out examples allow: one temperature (Guo et al. 2017).

What every other method is compared with. It knows nothing of what it does not know: `epistemic` stays empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Outputs, Task
from headstart.posteriors import _calibrate
from headstart.posteriors._problem import Problem
from headstart.posteriors._tensors import tensors_of

WEIGHTS = False
"""Whether it is a posterior of the weights of the head's last layer, which must be linear then."""


@dataclass(frozen=True)
class Temperature:
    """What the head says, at a temperature."""

    task: Task
    temperature: Float[Tensor, ""]

    def outputs(self, given: Float[Tensor, "batch inputs"], said: Float[Tensor, "batch outputs *places"]) -> Outputs:
        """What the head says, tempered by the task."""
        return self.task.tempered(Outputs(said), float(self.temperature))

    def together(self, given: Float[Tensor, "batch inputs"], said: Float[Tensor, "batch outputs *places"], count: int) -> None:
        """None: nothing is known of the weights."""

    def state(self) -> Mapping[str, Tensor]:
        """One number."""
        return tensors_of(self)

    @property
    def words(self) -> str:
        """What was fitted, in a sentence."""
        return f"probabilities at the temperature {float(self.temperature):.2f}"


def fit(problem: Problem) -> Temperature:
    """With the temperature at which held-out examples are best predicted; near 1 where there are few."""
    held = problem.held.some(_calibrate.MOST)
    found, _ = _calibrate.temperature(problem.task, Outputs(held.said), held.targets)
    return Temperature(problem.task, torch.tensor(found, dtype=torch.float64))


def load(state: Mapping[str, Tensor], task: Task) -> Temperature:
    """The one whose `state()` this is."""
    return Temperature(task, **state)
