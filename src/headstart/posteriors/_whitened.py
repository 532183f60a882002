"""The log posterior of a linear layer in coordinates in which its curvature at the mode is one: for `hmc` and `bootstrap`."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import linalg
from torch import Tensor

from headstart.curvature import product
from headstart.posteriors._precision import BIAS_PRECISION, Curvature, own_roots, turned_of
from headstart.posteriors._problem import Problem

ROUNDING = 30.0
"""In units of the precision, how far what a head says may be from what its weights say."""

TINY = 1e-30


@dataclass(frozen=True)
class Whitened:
    """Potential energy and its gradient for many chains at once. A position is [directions x (rank + 1), chains]."""

    problem: Problem
    rows: Float[Tensor, "batch rank_and_bias"]
    """The training examples in the eigenbasis of their inputs, and a one for the bias."""
    centre: Float[Tensor, " inputs"]
    basis: Float[Tensor, "inputs rank"]
    directions: Float[Tensor, "outputs directions"]
    mode: Float[Tensor, "directions rank_and_bias"]
    """Of the weights of the head as it is."""
    precision: Float[Tensor, "directions rank_and_bias"]
    """Of the prior."""
    roots: Float[Tensor, "directions dense dense"]
    """R of each direction: weights R^T u have the covariance that Laplace finds, where u is white. Of the last numbers, which matter most."""
    rest: Float[Tensor, "directions rest"]
    """Deviations of the numbers before them."""
    each: float
    """Examples that each row stands for."""

    @classmethod
    def of(cls, problem: Problem) -> "Whitened":
        """The posterior of this head on these training examples."""
        turned, curvature = turned_of(problem), Curvature(problem)
        count, kind = len(turned.rows), torch.from_numpy(turned.rows).dtype
        alpha, directions = curvature.prior, curvature.directions
        along = problem.train.said.double().numpy() @ directions
        weights = weights_of(turned.rows, along - along.mean(0), alpha)
        mode = np.hstack([weights.T, along.mean(0)[:, None]])
        precision = np.hstack([np.tile(alpha[:, None], (1, weights.shape[0])), np.full((len(alpha), 1), BIAS_PRECISION)])
        roots, variances = own_roots(turned, curvature)
        rows = torch.from_numpy(np.hstack([turned.rows, np.ones((count, 1), turned.rows.dtype)]))
        tensors = (turned.mean, turned.basis / turned.scale, directions, mode, precision, roots, np.sqrt(variances))
        return cls(problem, rows, *(torch.tensor(each, dtype=kind) for each in tensors), each=curvature.each)

    def start(self, chains: int, draw: np.random.Generator) -> Float[Tensor, "numbers chains"]:
        """Places around the mode, wider than the posterior is thought to be."""
        return torch.from_numpy(1.5 * draw.standard_normal((self.mode.numel(), chains))).to(self.mode)

    def weights(self, position: Float[Tensor, "numbers chains"]) -> Float[Tensor, "directions rank_and_bias chains"]:
        """How far the weights at a position are from the mode."""
        white = position.unflatten(0, self.mode.shape)
        few = self.rest.shape[1]
        return torch.cat([self.rest[..., None] * white[:, :few], self.roots.mT @ white[:, few:]], dim=1)

    def __call__(
        self, position: Float[Tensor, "numbers chains"], counted: Float[Tensor, "chains batch"] | None = None
    ) -> tuple[Float[Tensor, " chains"], Float[Tensor, "numbers chains"]]:
        """The negative log posterior of each chain, without its constant, and its gradient.

        Args:
            counted: how often each chain counts each example; by default all once.
        """
        moved = self.weights(position)
        count, rank, chains = moved.shape
        train = self.problem.train
        flat = self.rows @ moved.transpose(0, 1).reshape(rank, count * chains)
        with torch.enable_grad():
            along = (
                flat.unflatten(1, (count, chains)).permute(2, 0, 1).contiguous().requires_grad_()
            )  # [chains, batch, directions]
            said = train.said.to(along) + along @ self.directions.T
            targets = train.targets.repeat(chains, *(1 for _ in train.targets.shape[1:]))
            losses = self.problem.task.loss(said.flatten(0, 1), targets).unflatten(0, (chains, -1))
            losses = losses if counted is None else losses * counted
            (slope,) = torch.autograd.grad(losses.sum(), along)
        weights = self.mode[..., None] + moved
        penalty = 0.5 * (self.precision[..., None] * weights.double().square()).sum((0, 1))
        pull = self.rows.T @ slope.permute(1, 2, 0).reshape(-1, count * chains)
        gradient = self.each * pull.unflatten(1, (count, chains)).transpose(0, 1) + self.precision[..., None] * weights
        few = self.rest.shape[1]
        white = torch.cat([self.rest[..., None] * gradient[:, :few], self.roots @ gradient[:, few:]], dim=1)
        return self.each * losses.detach().double().sum(1) + penalty, white.flatten(0, 1)


def weights_of(
    rows: Float[np.ndarray, "batch rank"], along: Float[np.ndarray, "batch directions"], alpha: Float[np.ndarray, " directions"]
) -> Float[np.ndarray, "rank directions"]:
    """The weights that say this of these rows; where the rows hardly vary, what is said is rounding, and the prior has its way.

    Beware: the eigenbasis that single precision finds is none for eigenvalues below its resolution, so rows are not taken for orthogonal.
    """
    exact = rows.astype(np.float64)
    values, turn = linalg.eigh(product(exact.T, exact), check_finite=False)
    off = np.square(ROUNDING * np.finfo(rows.dtype).eps) * along.var(0) * alpha
    return turn @ (turn.T @ (exact.T @ along) / np.maximum(np.clip(values, 0.0, None)[:, None] + off, TINY))
