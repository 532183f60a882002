"""The posterior of the head by Hamiltonian Monte Carlo: what Laplace approximates, with no approximation but that of finitely many draws.

The target is the likelihood of the training examples times the prior that the solved head has, in coordinates in which Laplace's
approximation is white. What is kept are draws of the weights, relative to the head as it is, so that each draw
says what the head says plus what differs. The exact posterior of a head is too unsure on most data (docs/decisions/0019): it is
here to be compared with, with its chains judged (`rhat`, `effective`), and the temperature of what it says fitted as for all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Task
from headstart.places import evenly
from headstart.posteriors import _sampler
from headstart.posteriors._draws import Draws, tempered
from headstart.posteriors._problem import Problem
from headstart.seeds import numpy_generator

WEIGHTS = True
"""Whether it is a posterior of the weights of the head's last layer, which must be linear then."""
CHAINS, FEWEST_CHAINS, WARM, COUNT = 16, 4, 150, 240
"""A gradient reads all examples whether for one chain or for many, so chains are nearly free where outputs are few; with more outputs
there are fewer, each the longer. `COUNT` draws of each where there are `CHAINS`."""
COLUMNS = 64
"""Chains times outputs from which on computing a gradient takes longer than reading the examples."""
KEPT = 100
"""Draws that answer, spread over all chains."""
WATCHED = 50
"""Training examples whose outputs tell how far the chains can be trusted."""
TRUSTED = 1.05
"""R-hat up to which the chains are said to agree."""


@dataclass(frozen=True)
class Hmc(Draws):
    """Draws, and how far their chains are to be trusted."""

    rhat: Float[Tensor, " watched"]
    effective: Float[Tensor, " watched"]
    """Effective draws of each watched output, of all that were made."""
    accepted: Float[Tensor, ""]
    divergences: Float[Tensor, ""]

    @property
    def words(self) -> str:
        """What was drawn, and how far to trust it, in a sentence."""
        worst, least = float(self.rhat.max()), float(self.effective.min())
        agree = "" if worst <= TRUSTED else "; its chains do not agree yet: give it more draws before you believe it"
        return (
            f"{len(self.moved)} draws of the head by Hamiltonian Monte Carlo (R-hat at most {worst:.3f}, at least {least:.0f} effective draws, "
            f"{float(self.divergences):.0f} divergences), at the temperature {float(self.temperature):.2f}{agree}"
        )


def fit(problem: Problem) -> Hmc:
    """Draws of the head's posterior on the training examples; what they say is tempered as held-out examples ask for."""
    chains = min(CHAINS, max(FEWEST_CHAINS, COLUMNS // problem.train.said.shape[1]))
    return tempered(draws(problem, chains, WARM, COUNT * CHAINS // chains), problem)


def load(state: Mapping[str, Tensor], task: Task) -> Hmc:
    """The one whose `state()` this is."""
    return Hmc(task, **state)


def draws(problem: Problem, chains: int, warm: int, count: int) -> Hmc:
    """Draws at temperature 1, with their diagnostics."""
    from headstart.posteriors._whitened import Whitened  # scipy takes half a second to import, and only fitting needs it

    target = Whitened.of(problem)
    start = target.start(chains, numpy_generator(0, "hmc", "start"))
    found = _sampler.sample(target, start, numpy_generator(0, "hmc", "draws"), warm, count)
    moved = torch.stack(
        [target.weights(each).permute(2, 0, 1) for each in found.positions]
    )  # [draws, chains, directions, rank and bias]
    watched = evenly(len(target.rows), WATCHED)
    seen = torch.einsum("nr,dcjr->dcnj", target.rows[watched], moved).double().numpy()
    flat = moved.flatten(0, 1)
    chosen = evenly(len(flat), KEPT)
    one = torch.tensor(1.0, dtype=torch.float64)
    return Hmc(
        problem.task,
        centre=target.centre,
        basis=target.basis,
        moved=flat[chosen].contiguous(),
        directions=target.directions,
        temperature=one,
        rhat=torch.from_numpy(_sampler.rhat(seen).ravel()),
        effective=torch.from_numpy(_sampler.effective(seen).ravel()),
        accepted=one * found.accepted,
        divergences=one * found.divergences,
    )
