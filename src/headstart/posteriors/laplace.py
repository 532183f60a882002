"""Laplace's approximation of the head: its weights are Gaussian around where they are, as wide as the curvature of the loss allows.

With features z of an example (centred, in units of their common spread, in the eigenbasis of their covariance, and a one for
the bias) and the Hessian H_n of its loss by the head's outputs, the precision of the weights is
    sum_n H_n (x) z_n z_n^T + diag(alpha) (x) I    (MacKay 1992, "A practical Bayesian framework for backpropagation networks")
It is rotated by the eigenvectors v_j of the mean of H_n, and what lies between two directions j is dropped: exact for two
classes, for independent labels and for one number, an approximation between three classes and more. Then
    Cov f(x) = width V diag(M(x)) V^T,    M_j(x) = z^T P_j^-1 z,    P_j = sum_n (v_j^T H_n v_j) z_n z_n^T + alpha_j I.
Where there are many directions the weight v_j^T H_n v_j is replaced by its mean, and all P_j share one eigenbasis (Kronecker
factors). What all logits share, which changes no probability, has no curvature and no variance. The bias has a weak prior. The
width, and the temperature of what is said, are chosen on held-out examples (`_calibrate`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart.core import Outputs, Task
from headstart.posteriors import _calibrate
from headstart.posteriors._problem import Problem
from headstart.posteriors._tensors import tensors_of
from headstart.seeds import numpy_generator

WEIGHTS = True
"""Whether it is a posterior of the weights of the head's last layer, which must be linear then."""
OWN = 32
"""Up to so many directions of the outputs have precisions of their own and tell their covariance; more share factors and give draws."""
DRAWS = 64
HELD = 1 << 24
"""Numbers of draws held at once."""
BARELY = 0.05
"""Of the prior's variance: a direction of the inputs along which it is narrowed by less is not kept, and has the prior's (docs/log.md)."""


@dataclass(frozen=True)
class Laplace:
    """The posterior of a linear layer. Everything that it knows is tensors."""

    task: Task
    centre: Float[Tensor, " inputs"]
    scale: Float[Tensor, ""]
    basis: Float[Tensor, "inputs rank"]
    """Of inputs in single precision in half of it: nearly all of the state is this."""
    directions: Float[Tensor, "outputs directions"]
    roots: Float[Tensor, "directions dense dense"]
    """Of each direction the inverse Cholesky factor of the precision of the last `dense` - 1 columns of the basis and the bias."""
    rest: Float[Tensor, "directions rest"]
    """Variances of the weights on the columns of the basis before those."""
    outside: Float[Tensor, " directions"]
    """Prior variances, of the weights on what lies outside the basis."""
    width: Float[Tensor, ""]
    temperature: Float[Tensor, ""]

    def outputs(self, given: Float[Tensor, "batch inputs"], said: Float[Tensor, "batch outputs"]) -> Outputs:
        """What the head says with the covariance of it, or with draws where there are many outputs; tempered by the task."""
        spread = self._spread(said.to(self.centre), float(self.width) * self.variances(given))
        return self.task.tempered(spread, float(self.temperature))

    def together(
        self, given: Float[Tensor, "batch inputs"], said: Float[Tensor, "batch outputs"], count: int
    ) -> Float[Tensor, "draws batch outputs"]:
        """Outputs with `count` draws of the weights, the same for all rows: their covariance is `covariance`, and that between rows."""
        centred, turned, few = self._turned(given)
        normal, kind = numpy_generator(0, "laplace", "draws of the weights"), (count, self.directions.shape[1])
        white = torch.from_numpy(normal.standard_normal((*kind, self.roots.shape[2]))).to(self.centre)
        weights = torch.einsum("jmn,sjm->sjn", self.roots, white)
        moved = torch.einsum("bn,sjn->sbj", torch.cat([turned[:, few:], turned.new_ones(len(turned), 1)], dim=1), weights)
        rest = torch.from_numpy(normal.standard_normal((*kind, few))).to(self.centre) * self.rest.sqrt()
        moved = moved + torch.einsum("bn,sjn->sbj", turned[:, :few], rest)
        if bool(self.outside.any()):
            beyond = torch.from_numpy(normal.standard_normal((*kind, self.basis.shape[0]))).to(self.centre)
            moved = moved + torch.einsum("bn,sjn->sbj", centred - turned @ self._columns.T, beyond) * self.outside.sqrt()
        samples = said.to(self.centre) + self.width.sqrt().to(self.centre) * moved @ self.directions.T
        return torch.as_tensor(
            self.task.tempered(Outputs(said.to(self.centre), samples=samples), float(self.temperature)).samples
        )

    def covariance(self, given: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs outputs"]:
        """Of the head's outputs for each row of inputs, from what is not known of its weights, as wide as the exact posterior."""
        return self._turned_back(self.variances(given))

    def _turned_back(self, variances: Float[Tensor, "batch directions"]) -> Float[Tensor, "batch outputs outputs"]:
        return torch.einsum("kj,bj,lj->bkl", self.directions, variances, self.directions)

    def variances(self, given: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch directions"]:
        """M of the formula at the head of this file."""
        centred, turned, few = self._turned(given)
        dense = torch.cat([turned[:, few:], turned.new_ones(len(turned), 1)], dim=1)
        found = torch.einsum("jmn,bn->bjm", self.roots, dense).square().sum(2)
        found = found + turned[:, :few].square() @ self.rest.T
        beyond = (centred.square().sum(1) - turned.square().sum(1)).clamp(min=0.0)  # no training example has anything there
        return found + beyond[:, None] * self.outside

    def _turned(
        self, given: Float[Tensor, "batch inputs"]
    ) -> tuple[Float[Tensor, "batch inputs"], Float[Tensor, "batch rank"], int]:
        """Inputs centred and scaled, the same in the basis, and of how many of its columns only the variances are known."""
        centred = (given.to(self.centre) - self.centre) / self.scale
        return centred, centred @ self._columns, self.rest.shape[1]

    def state(self) -> Mapping[str, Tensor]:
        """All of it as named tensors."""
        return tensors_of(self)

    @property
    def words(self) -> str:
        """What was fitted, in a sentence."""
        return f"Laplace's posterior of the head, {float(self.width):g} of its width, at the temperature {float(self.temperature):.2f}"

    def calibrated(self, problem: Problem) -> "Laplace":
        """With the width and the temperature that serve the held-out examples best."""
        held = problem.held.some(max(1, min(_calibrate.MOST, HELD // (DRAWS * self.directions.shape[0]))))
        said, exact = held.said.to(self.centre), self.variances(held.given)
        width, warm = _calibrate.width_and_temperature(
            problem.task, lambda width: self._spread(said, width * exact), held.targets
        )
        return replace(self, width=torch.tensor(width).double(), temperature=torch.tensor(warm).double())

    def _spread(self, said: Float[Tensor, "batch outputs"], variances: Float[Tensor, "batch directions"]) -> Outputs:
        if self.directions.shape[1] <= OWN:
            return Outputs(said, self._turned_back(variances))
        moved = variances.sqrt() * self._points[:, None]
        return Outputs(said, samples=said + moved @ self.directions.T)

    @cached_property
    def _columns(self) -> Float[Tensor, "inputs rank"]:
        """The basis as precise as all else."""
        return self.basis.to(self.centre)

    @cached_property
    def _points(self) -> Float[Tensor, "draws directions"]:
        """Fixed, so that what is said of an image hangs on the image alone; each with its mirror image, so that their mean is none."""
        half = numpy_generator(0, "laplace", "base points").standard_normal((DRAWS // 2, self.directions.shape[1]))
        return torch.from_numpy(np.concatenate([half, -half])).to(self.centre)


def fit(problem: Problem) -> Laplace:
    """Around the head as it is, with the curvature at the training examples; believed as far as held-out examples allow."""
    return around(problem, barely=BARELY).calibrated(problem)


def load(state: Mapping[str, Tensor], task: Task) -> Laplace:
    """The one whose `state()` this is."""
    return Laplace(task, **state)


def around(problem: Problem, own: int = OWN, barely: float = 0.0) -> Laplace:
    """The posterior at its exact width, nothing tempered.

    Args:
        own: up to so many directions of the outputs have precisions of their own.
        barely: directions of the inputs along which the examples narrow the prior by no more than this share keep the prior.
    """
    from headstart.posteriors._precision import parts  # scipy takes half a second to import, and only fitting needs it

    one = torch.tensor(1.0, dtype=torch.float64)
    return Laplace(problem.task, **parts(problem, own, barely), width=one, temperature=one)
