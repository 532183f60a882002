"""A posterior that is some draws of the weights of a head's last layer, relative to the head as it is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Outputs, Task
from headstart.posteriors import _calibrate
from headstart.posteriors._problem import Problem
from headstart.posteriors._tensors import tensors_of


@dataclass(frozen=True)
class Draws:
    """Each draw says what the head says plus what differs. Everything that it knows is tensors."""

    task: Task
    centre: Float[Tensor, " inputs"]
    basis: Float[Tensor, "inputs rank"]
    """From centred inputs to the directions in units of their common spread."""
    moved: Float[Tensor, "draws directions rank_and_bias"]
    """How far each draw's weights are from those of the head."""
    directions: Float[Tensor, "outputs directions"]
    temperature: Float[Tensor, ""]

    def outputs(self, given: Float[Tensor, "batch inputs"], said: Float[Tensor, "batch outputs"]) -> Outputs:
        """What each draw of the head says, tempered by the task."""
        return self.task.tempered(self.drawn(given, said), float(self.temperature))

    def together(
        self, given: Float[Tensor, "batch inputs"], said: Float[Tensor, "batch outputs"], count: int
    ) -> Float[Tensor, "draws batch outputs"]:
        """The same draws: all that were kept."""
        return torch.as_tensor(self.outputs(given, said).samples)

    def drawn(self, given: Float[Tensor, "batch inputs"], said: Float[Tensor, "batch outputs"]) -> Outputs:
        """What each draw says at temperature 1."""
        turned = (given.to(self.basis) - self.centre) @ self.basis
        moved = torch.einsum("br,sjr->sbj", turned, self.moved[..., :-1]) + self.moved[:, None, :, -1]
        said = said.to(self.basis)
        return Outputs(said, samples=said + moved @ self.directions.T)

    def state(self) -> Mapping[str, Tensor]:
        """All of it as named tensors."""
        return tensors_of(self)


D = TypeVar("D", bound=Draws)


def tempered(draws: D, problem: Problem) -> D:
    """The same draws at the temperature that held-out examples ask for."""
    held = problem.held.some(_calibrate.MOST)
    warmth, _ = _calibrate.temperature(problem.task, draws.drawn(held.given, held.said), held.targets)
    return replace(draws, temperature=torch.tensor(warmth, dtype=torch.float64))
