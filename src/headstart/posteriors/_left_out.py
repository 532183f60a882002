"""What a head would say of its training examples had it not seen each: approximate leave-one-out, without a second training.

One Newton step from the mode on all examples towards the mode on all but n, exact where the loss is a parabola (Rad and Maleki 2020,
"A scalable estimate of the out-of-sample prediction error via approximate leave-one-out", theorem 3):
    f_n without n = f_n + C_n (I - H_n C_n)^-1 g_n,
with C_n the covariance of the outputs of n by Laplace at its exact width, g_n and H_n gradient and Hessian of the loss of n.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from headstart.posteriors import laplace
from headstart.posteriors._problem import Problem

TOGETHER = 64
"""Up to so many directions of the outputs are solved for together; of more, each by itself."""
HIGHEST = 0.98
"""Share of what is known along a direction that may come from one example: beyond, a step of Newton says nothing."""
HELD = 1 << 22
"""Numbers of Hessians held at once."""


def left_out(problem: Problem) -> Float[Tensor, "batch outputs"]:
    """Outputs of each training example of the problem by a head that was not trained on it, whose prior is the same."""
    found = laplace.around(problem)
    directions, variances = found.directions.double(), found.variances(problem.train.given).double()
    said, step = problem.train.said.double(), max(1, HELD // problem.train.said.shape[1] ** 2)
    moved = []
    for first in range(0, len(said), step):
        some = slice(first, first + step)
        moved.append(_moved(problem, said[some], problem.train.targets[some], directions, variances[some]))
    return torch.cat(moved)


def _moved(
    problem: Problem,
    said: Float[Tensor, "batch outputs"],
    targets: Tensor,
    directions: Float[Tensor, "outputs directions"],
    variances: Float[Tensor, "batch directions"],
) -> Float[Tensor, "batch outputs"]:
    with torch.enable_grad():
        leaf = said.clone().requires_grad_()
        (slope,) = torch.autograd.grad(problem.task.loss(leaf, targets).sum(), leaf)
    bend = problem.task.output_hessian(said, targets).double()
    along = slope @ directions
    # in u = sqrt(C) f, where C is diagonal: (I - sqrt(C) H sqrt(C))^-1, symmetric, its eigenvalues below one
    root = variances.sqrt()
    inner = torch.einsum("kj,bkl,li->bji", directions, bend, directions)
    if directions.shape[1] > TOGETHER:
        share = (inner.diagonal(dim1=1, dim2=2) * variances).clamp(max=HIGHEST)
        return said + (variances * along / (1.0 - share)) @ directions.T
    values, vectors = torch.linalg.eigh(root[:, :, None] * inner * root[:, None, :])
    turned = torch.einsum("bji,bj->bi", vectors, root * along) / (1.0 - values.clamp(max=HIGHEST))
    return said + (root * torch.einsum("bji,bi->bj", vectors, turned)) @ directions.T
