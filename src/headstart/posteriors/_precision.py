"""The precision of a linear layer's weights, direction by direction of its outputs, and its inverse roots: what `laplace` and `hmc` stand on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import linalg
from torch import Tensor

from headstart.curvature import product
from headstart.posteriors._problem import Problem
from headstart.train.head_solve import Rotated, rotated

EXACT = 512
"""Of the inputs' directions the leading so many have a dense precision; for the others, which hold little, the diagonal serves."""
BIAS_PRECISION = 1e-2
"""Of the prior of a bias: a deviation of 10 nats. Without one, where all examples are told apart, a bias could be anything."""
NEGLIGIBLE = 1e-9
"""Curvature, relative to the largest, that counts as none."""
HELD = 1 << 24
"""Numbers of Hessians held at once."""


def parts(problem: Problem, own: int, barely: float = 0.0) -> dict[str, Tensor]:
    """The tensors of `Laplace` by name, but for width and temperature; `own` and `barely` are those of `laplace.around`."""
    turned = turned_of(problem)
    curvature = Curvature(problem)
    alpha = curvature.prior
    roots, rest = (own_roots if len(alpha) <= own else shared_roots)(turned, curvature)
    told = ((1.0 - rest * alpha[:, None]) > barely).any(0)
    basis = np.hstack([turned.basis[:, : len(told)][:, told], turned.basis[:, len(told) :]])
    found = {
        "centre": turned.mean,
        "scale": np.array(turned.scale),
        "basis": basis,
        "directions": curvature.directions,
        "roots": roots,
        "rest": rest[:, told],
        "outside": np.zeros_like(alpha) if basis.shape[1] == basis.shape[0] else 1.0 / alpha,
    }
    kind, of_basis = (torch.float64, torch.float64) if turned.rows.dtype == np.float64 else (torch.float32, torch.float16)
    return {name: torch.tensor(part, dtype=of_basis if name == "basis" else kind) for name, part in found.items()}


def turned_of(problem: Problem) -> Rotated:
    """What the layer is given of the training examples, in its eigenbasis."""
    return rotated(problem.train.given.numpy()) if problem.turned is None else problem.turned


class Curvature:
    """The Hessians of the training losses by those outputs that are not held to be known, in the eigenbasis of their mean."""

    def __init__(self, problem: Problem) -> None:
        self.outputs, self.targets, self.task = problem.train.said.double(), problem.train.targets, problem.task
        self.free: Int[np.ndarray, " free"] = np.flatnonzero(np.isfinite(problem.precision))
        self.each = problem.count / max(1, len(self.outputs))
        """Examples that each row stands for."""
        mean = self.task.mean_hessian(self.outputs, self.targets).numpy()
        values, vectors = linalg.eigh(mean[np.ix_(self.free, self.free)])
        kept = values > NEGLIGIBLE * max(float(values.max(initial=0.0)), 1e-300)
        self.values, self.vectors = values[kept], vectors[:, kept]
        self.directions = np.zeros((self.outputs.shape[1], len(self.values)))
        """The eigenvectors as directions of all outputs."""
        self.directions[self.free] = self.vectors
        self.prior: Float[np.ndarray, " directions"] = self.vectors.T**2 @ problem.precision[self.free]
        """The precision of the prior along each."""

    def _pieces(self) -> Iterator[Float[np.ndarray, "piece free free"]]:
        step = max(1, HELD // self.outputs.shape[1] ** 2)
        for first in range(0, len(self.outputs), step):
            found = self.task.output_hessian(self.outputs[first : first + step], self.targets[first : first + step])
            yield found.numpy()[:, self.free][:, :, self.free]

    def weights(self) -> Float[np.ndarray, "batch directions"]:
        """The curvature along each direction; where a loss bends the other way there is none."""
        found = [np.einsum("kj,nkl,lj->nj", self.vectors, piece, self.vectors, optimize=True) for piece in self._pieces()]
        return self.each * np.clip(np.concatenate(found), 0.0, None)


def own_roots(turned: Rotated, curvature: Curvature) -> tuple[Any, Any]:
    """Inverse roots of the leading part of each direction's precision, and variances of the rest."""
    weights = curvature.weights()
    dense, rest = turned.rows[:, -EXACT:], turned.rows[:, :-EXACT]
    dense = np.hstack([dense, np.ones((len(dense), 1), dense.dtype)])
    roots = np.empty((len(curvature.prior), dense.shape[1], dense.shape[1]))
    for place, (column, prior) in enumerate(zip(weights.T, curvature.prior, strict=True)):
        scaled = dense * np.sqrt(column).astype(dense.dtype)[:, None]
        precision = product(scaled.T, scaled).astype(np.float64)
        precision[np.diag_indices(len(precision))] += np.append(np.full(len(precision) - 1, prior), BIAS_PRECISION)
        root = linalg.cholesky(precision, lower=True, check_finite=False)
        roots[place] = linalg.solve_triangular(root, np.eye(len(root)), lower=True, check_finite=False)
    squares = product(weights.T.astype(rest.dtype), np.square(rest))
    return roots, 1.0 / (squares.astype(np.float64) + curvature.prior[:, None])


def shared_roots(turned: Rotated, curvature: Curvature) -> tuple[Any, Any]:
    """The same of Kronecker factors: all columns of the basis have a variance, only the bias is left for a root."""
    values = curvature.each * curvature.values
    roots = 1.0 / np.sqrt(values * len(turned.rows) + BIAS_PRECISION)
    return roots[:, None, None], 1.0 / (np.outer(values, turned.eigenvalues) + curvature.prior[:, None])
