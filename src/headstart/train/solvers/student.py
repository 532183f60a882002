"""Of numbers of which some are far off the rest: linear regression under Student's t, by weighted solves; the prior by the evidence.

A t with f degrees of freedom is a Gaussian whose precision is unknown for each example. The mode of
    p(w, b | y) ~ prod_n t_f((y_n - x_n w - b) / sigma) exp(-alpha/2 |w|^2)
is found by expectation and maximisation (Lange, Little and Taylor 1989, "Robust statistical modeling using the t distribution",
sect. 3; Dempster, Laird and Rubin 1980): each example gets the weight that its residual r leaves it,
    c_n = (f + 1) / (f + r_n^2 / sigma^2),
and the weighted Gaussian problem is solved, until nothing moves. Its evidence, the formula of `gaussian` with sqrt(c_n) x_n and
sqrt(c_n) y_n for x_n and y_n, chooses alpha and sigma. It starts from the Gaussian solution for numbers cut off where they are wild,
as the evidence of the wild ones themselves is that there is nothing to learn.
"""

import numpy as np
from jaxtyping import Float
from scipy import linalg

from headstart.metrics.noise import STUDENT
from headstart.train.head_solve import Linear, Rotated, SolvedHead
from headstart.train.solvers import gaussian

MOST_SOLVES, MOST_CHOICES = 100, 20
ROUGH, FINE = 1e-3, 1e-6
"""Largest change of a prediction, in units of the noise, at which the solves have converged: between choices of the prior, at last."""
SAME_PRIOR = 0.02
"""Change of log rho by which a choice of the prior is the one before: the evidence is flat there, and the mode hardly moves."""
WILD = 3.0
"""Beyond so many deviations of the middle half, were it Gaussian, a number is cut off for the start."""


def solve(
    features: Float[np.ndarray, "batch features"],
    targets: Float[np.ndarray, "batch targets"],
    came_with: Linear,
    weights: Float[np.ndarray, " batch"] | None = None,
) -> SolvedHead:
    """The heads of all targets at their modes: a row for each mean, then a row without weights for each log squared scale.

    Args:
        targets: no number where nobody knows: the example is left out for this target. A target of which nothing is known keeps
            its rows of `came_with`.
    """
    return gaussian.solve_each(features, targets, came_with, weights, OneTarget)


class OneTarget:
    """One target's posterior mode; `rho` = alpha sigma^2 is chosen by the evidence unless given."""

    def __init__(self, rows: Rotated, target: Float[np.ndarray, " batch"], rho: float | None = None) -> None:
        self.rows, self.target = rows.rows, target
        first = gaussian.OneTarget(rows, tamed(target), rho)
        self.theta, self.centre, self.rho, self.variance = first.theta, first.centre, first.rho, first.variance
        self.evaluations = first.evaluations
        for _ in range(MOST_CHOICES if rho is None else 0):
            self._settle(ROUGH)
            before, self.rho = self.rho, self._weighted(None).rho
            if abs(np.log(self.rho / before)) < SAME_PRIOR:
                break
        self._settle(FINE)
        self.last = self._weighted(self.rho)

    def residuals(self) -> Float[np.ndarray, " batch"]:
        """Of the examples, as the head is now."""
        return self.target - self.centre - (self.rows @ self.theta.astype(self.rows.dtype)).astype(np.float64)

    def weights(self) -> Float[np.ndarray, " batch"]:
        """c_n of the formula at the head of this file."""
        return (STUDENT.freedom + 1) / (STUDENT.freedom + self.residuals() ** 2 / self.variance)

    def _settle(self, tolerance: float) -> None:
        """Weighted solves under the prior as it is, until no prediction moves by more than `tolerance`."""
        before = self.residuals()
        for _ in range(MOST_SOLVES):
            self._solve_weighted()
            after, before = before, self.residuals()
            if np.abs(after - before).max(initial=0.0) <= tolerance * np.sqrt(self.variance):
                break

    def _solve_weighted(self) -> None:
        """One step: the mode for the weights, then the noise that its evidence takes for best."""
        weights = self.weights()
        middle, level, rows, target = self._centred(weights)
        gram = (rows.T @ rows).astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.rho
        products = rows.T.astype(np.float64) @ target
        self.theta = linalg.cho_solve(linalg.cho_factor(gram, overwrite_a=True), products)
        self.centre = level - float(middle @ self.theta)
        square = float(target @ target)
        self.variance = gaussian.bounded(square - float(products @ self.theta), square) / max(1, len(target) - 1)
        self.evaluations += 1

    def _centred(
        self, weights: Float[np.ndarray, " batch"]
    ) -> tuple[Float[np.ndarray, " rank"], float, Float[np.ndarray, "batch rank"], Float[np.ndarray, " batch"]]:
        """The weighted means of features and target, and both without these, times the roots of the weights."""
        share, roots = weights / weights.sum(), np.sqrt(weights)
        middle, level = share @ self.rows, float(share @ self.target)
        rows = ((self.rows - middle) * roots[:, None]).astype(self.rows.dtype)
        return middle, level, rows, (self.target - level) * roots

    def _weighted(self, rho: float | None) -> gaussian.Evidence:
        """The evidence of the problem with the weights as they are now, which chooses `rho` unless it is given."""
        weights = self.weights()
        _, _, rows, target = self._centred(weights)
        values, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
        products = vectors.T @ (rows.T.astype(np.float64) @ target)
        square, total = float(target @ target), float(weights.sum())
        found = gaussian.Evidence(np.maximum(values, 0.0), products, square, len(target), rho, total)
        self.evaluations += found.evaluations
        return found

    @property
    def spread(self) -> float:
        """The squared scale of the t that fits best what each example is off by if it is not learned from, weights as they are."""
        weights = self.weights()
        _, _, rows, _ = self._centred(weights)
        gram = (rows.T @ rows).astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.rho
        root = linalg.solve_triangular(linalg.cholesky(gram, lower=True), rows.T.astype(np.float64), lower=True)
        squares = gaussian.left_out(self.residuals(), weights / weights.sum() + (root**2).sum(0)) ** 2
        found, least = self.variance, gaussian.LEAST_NOISE * self.variance
        for _ in range(MOST_SOLVES):
            before, weights = found, (STUDENT.freedom + 1) / (STUDENT.freedom + squares / found)
            found = max(float((weights * squares).mean()), least)
            if abs(np.log(found / before)) < FINE:
                break
        return found

    @property
    def precision(self) -> float:
        """alpha, of the prior, in units of the features' common spread."""
        return self.rho / self.variance

    @property
    def effective_parameters(self) -> float:
        """Number of directions that the weighted data determine."""
        return self.last.effective_parameters

    @property
    def log_evidence(self) -> float:
        """log p(y) in nats by Laplace's method at the mode, with the curvature of the weighted problem for that of the t.

        The evidence of the weighted problem has the Gaussian densities of the residuals in it; those of the t take their place.
        """
        residuals, weights = self.residuals(), self.weights()
        scale = np.sqrt(self.variance)
        gaussians = 0.5 * np.log(weights / self.variance / (2 * np.pi)) - 0.5 * weights * residuals**2 / self.variance
        students = STUDENT.log_density(residuals / scale) - np.log(scale)
        return self.last.log_evidence + float(0.5 * np.log(weights).sum() + (students - gaussians).sum())


def tamed(target: Float[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
    """The numbers, those far from their median cut off; all as they are where half of them are equal."""
    middle = np.median(target)
    deviation = 1.4826 * np.median(np.abs(target - middle))
    return np.clip(target, middle - WILD * deviation, middle + WILD * deviation) if deviation > 0 else target
