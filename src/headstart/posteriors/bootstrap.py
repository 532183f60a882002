"""An ensemble of heads: each solved on the training examples counted anew, as if they had been drawn again.

Each head counts example n w_n times, w = n Dirichlet(1, ..., 1), and is the mode of
    sum_n w_n loss_n(weights) - log prior(weights)
(the weighted likelihood bootstrap: Newton and Raftery 1994, section 3; Rubin 1981, "The Bayesian bootstrap"). To first order their spread is the
sandwich covariance H^-1 (sum_n g_n g_n^T) H^-1, which does not take the likelihood to be right, where Laplace's is H^-1. The modes are found
together, in coordinates in which the curvature of the head as it is is one, by steps of Barzilai and Borwein (1988, equation 5).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Task
from headstart.posteriors._draws import Draws, tempered
from headstart.posteriors._problem import Problem
from headstart.seeds import numpy_generator

WEIGHTS = True
"""Whether it is a posterior of the weights of the head's last layer, which must be linear then."""
MEMBERS, FEWEST = 32, 8
COLUMNS = 256
"""Members times outputs from which on there are fewer members."""
STEPS = 40
SHORTEST, LONGEST = 0.1, 2.0
"""Steps: an example may count seven times, and bend its direction as much."""
Energy = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Of each member at its position, with its counts, and its gradient."""
ENOUGH = 1e-3
"""Length of the gradient, against that at the start, at which a mode is found."""


@dataclass(frozen=True)
class Bootstrap(Draws):
    """The heads, and how near they are to their modes."""

    left: Float[Tensor, " draws"]
    """Length of each gradient over that at the start."""

    @property
    def words(self) -> str:
        """How many heads there are, in a sentence."""
        worst = float(self.left.max())
        near = "" if worst <= 0.05 else f"; the farthest from its mode still has {100 * worst:.0f} % of its gradient"
        return f"{len(self.moved)} heads on examples counted anew (bootstrap), at the temperature {float(self.temperature):.2f}{near}"


def fit(problem: Problem) -> Bootstrap:
    """The ensemble of a head on its training examples; what it says is tempered as held-out examples ask for."""
    return tempered(ensemble(problem, max(FEWEST, min(MEMBERS, COLUMNS // problem.train.said.shape[1]))), problem)


def load(state: Mapping[str, Tensor], task: Task) -> Bootstrap:
    """The one whose `state()` this is."""
    return Bootstrap(task, **state)


def ensemble(problem: Problem, members: int) -> Bootstrap:
    """So many heads at temperature 1."""
    from headstart.posteriors._whitened import Whitened  # scipy takes half a second to import, and only fitting needs it

    target = Whitened.of(problem)
    drawn = numpy_generator(0, "bootstrap").standard_exponential((members, len(target.rows)))
    counted = torch.from_numpy(drawn / drawn.mean(1, keepdims=True)).to(target.mode)
    position, left = descended(target, counted, target.mode.numel())
    one = torch.tensor(1.0, dtype=torch.float64)
    moved = target.weights(position).permute(2, 0, 1).contiguous()
    return Bootstrap(problem.task, target.centre, target.basis, moved, target.directions, one, left)


def descended(
    energy: Energy, counted: Float[Tensor, "members batch"], numbers: int
) -> tuple[Float[Tensor, "numbers members"], Float[Tensor, " members"]]:
    """The modes from zero on, and what is left of the gradient at each."""
    position = torch.zeros(numbers, len(counted), dtype=counted.dtype)
    _, gradient = energy(position, counted)
    first, step = gradient.norm(dim=0).clamp(min=1e-12), torch.full((len(counted),), 0.5, dtype=position.dtype)
    for _ in range(STEPS):
        change = -step * gradient
        position = position + change
        before, (_, gradient) = gradient, energy(position, counted)
        if bool((gradient.norm(dim=0) <= ENOUGH * first).all()):
            break
        bent = (change * (gradient - before)).sum(0)
        step = torch.where(bent > 0, change.square().sum(0) / bent.clamp(min=1e-12), torch.ones_like(step)).clamp(
            SHORTEST, LONGEST
        )
    return position, gradient.norm(dim=0) / first
