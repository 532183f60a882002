"""Of numbers: Bayesian linear regression in closed form for each target, prior and noise chosen by the evidence.

With centred features X, the eigenvalues l_i of X^T X and z = X^T y in their eigenbasis, weights w ~ N(0, 1/alpha) and noise
of precision beta, the mode is w_i = z_i / (l_i + rho) with rho = alpha / beta. The bias has a flat prior and is integrated out,
which leaves n - 1 numbers; so is beta replaced by its best value given rho, beta = (n - 1) / E(rho), and the evidence (MacKay
1992, "Bayesian interpolation", eq. 4.9) becomes a function of rho alone:
    log p(y | rho) = -(n - 1)/2 log E(rho) + 1/2 sum_i log(rho / (l_i + rho)) + constant,    E = |y|^2 - sum_i z_i^2 / (l_i + rho).
The head has two outputs for each target: its mean, and the logarithm of the variance of what it is off by, which is the same for
all examples until further training lets it depend on them. That is not 1 / beta: where there are about as many features as examples
the mode follows the noise, and beta grows without bound. It is the mean square of what each example is off by if the others alone
are learned from, at the same rho, which needs no second solve (Allen 1974, "The relationship between variable selection and data
augmentation and a method for prediction"): e_n / (1 - h_n), h_n = 1/n + sum_i x_ni^2 / (l_i + rho).
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy import optimize

from headstart.errors import BadSetting
from headstart.train.head_solve import Linear, Rotated, SolvedHead, rotated

LOWEST, HIGHEST = np.log(1e-9), np.log(1e12)
AT_ONCE = 4096
"""Examples whose features are held in float64 at once."""
LEAST_NOISE = 1e-6
"""Of the variance of the target: what is predicted without error on the training examples is not known better than this."""


def solve(
    features: Float[np.ndarray, "batch features"],
    targets: Float[np.ndarray, "batch targets"],
    came_with: Linear,
    weights: Float[np.ndarray, " batch"] | None = None,
) -> SolvedHead:
    """The heads of all targets at their modes: a row for each mean, then a row without weights for each noise.

    Args:
        targets: no number where nobody knows: the example is left out for this target. A target of which nothing is known keeps
            its rows of `came_with`.
    """
    return solve_each(features, targets, came_with, weights, OneTarget)


@runtime_checkable
class Solved(Protocol):
    """One target's posterior mode, in the rotated features."""

    theta: Float[np.ndarray, " rank"]
    centre: float
    evaluations: int

    @property
    def spread(self) -> float: ...

    @property
    def precision(self) -> float: ...

    @property
    def effective_parameters(self) -> float: ...

    @property
    def log_evidence(self) -> float: ...


def solve_each(
    features: Float[np.ndarray, "batch features"],
    targets: Float[np.ndarray, "batch targets"],
    came_with: Linear,
    weights: Float[np.ndarray, " batch"] | None,
    one_target: Callable[[Rotated, Float[np.ndarray, " batch"]], Solved],
) -> SolvedHead:
    """As `solve`, each target by `one_target`."""
    if weights is not None:
        raise BadSetting("numbers have no classes to balance. Leave balance at none.")
    count = targets.shape[1]
    weight, bias = came_with.weight.astype(np.float64), came_with.bias.astype(np.float64)
    whole, found = rotated(features), list[Solved]()
    precision = np.full(2 * count, np.inf)
    for place, column in enumerate(targets.T):
        known = ~np.isnan(column)
        if not known.any():
            continue
        rows = whole if known.all() else rotated(features[known])
        one = one_target(rows, column[known].astype(np.float64))
        found.append(one)
        precision[place] = one.precision
        weight[place] = rows.basis @ one.theta / rows.scale
        bias[place] = one.centre - rows.mean @ weight[place]
        weight[count + place], bias[count + place] = 0.0, np.log(one.spread)
    return SolvedHead(
        weight=weight,
        bias=bias,
        precision=precision,
        effective_parameters=sum(one.effective_parameters for one in found),
        log_evidence=sum(one.log_evidence for one in found),
        evaluations=sum(one.evaluations for one in found),
        turned=whole,
    )


class Evidence:
    """What the data say of prior and noise, and the mode; `rho` is chosen by the evidence unless given.

    Args:
        eigenvalues: l of the formula at the head of this file.
        products: z.
        square: |y|^2, of the centred target.
        n: the number of examples.
        total: the sum of their weights, where they are weighted; l, z and |y|^2 then have the weights in them.
    """

    def __init__(
        self,
        eigenvalues: Float[np.ndarray, " rank"],
        products: Float[np.ndarray, " rank"],
        square: float,
        n: int,
        rho: float | None = None,
        total: float | None = None,
    ) -> None:
        self.eigenvalues, self.products, self.square, self.n = eigenvalues, products, square, n
        self.total = n if total is None else total
        self.evaluations = 0
        self.rho = rho if rho is not None else self._best()
        self.theta = self.products / (self.eigenvalues + self.rho)

    def _left(self, rho: float) -> float:
        """E(rho): squared residuals and penalty, in units of the noise."""
        return bounded(self.square - float((self.products**2 / (self.eigenvalues + rho)).sum()), self.square)

    def evidence(self, log_rho: float) -> float:
        """log p(y | rho) of the formula at the head of this file, without its constant."""
        self.evaluations += 1
        rho = np.exp(log_rho)
        shrunk = -np.log1p(self.eigenvalues / rho).sum()
        return float(-0.5 * (self.n - 1) * np.log(self._left(rho)) + 0.5 * shrunk)

    def _best(self) -> float:
        """The rho with the largest evidence: a coarse look over all scales, then Brent's search around the best."""
        if self.n < 2 or self.square <= 0:
            return float(np.exp(HIGHEST))
        scale = np.log(max(float(self.eigenvalues.max(initial=0.0)), 1e-12))
        grid = np.linspace(max(LOWEST, scale - 25), min(HIGHEST, scale + 12), 60)
        best = int(np.argmax([self.evidence(each) for each in grid]))
        low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
        found: Any = optimize.minimize_scalar(lambda each: -self.evidence(each), bounds=(low, high), method="bounded")
        return float(np.exp(found.x))

    @property
    def variance(self) -> float:
        """Of the noise: 1 / beta."""
        return self._left(self.rho) / max(1, self.n - 1)

    @property
    def precision(self) -> float:
        """alpha, of the prior, in units of the features' common spread."""
        return self.rho / self.variance

    @property
    def effective_parameters(self) -> float:
        """Number of directions that the data determine: sum_i l_i / (l_i + rho) (MacKay 1992, eq. 4.9)."""
        return float((self.eigenvalues / (self.eigenvalues + self.rho)).sum())

    @property
    def log_evidence(self) -> float:
        """log p(y) in nats with its constant, the flat prior of the bias left out."""
        constant = -0.5 * (self.n - 1) * (np.log(2 * np.pi / max(1, self.n - 1)) + 1) - 0.5 * np.log(self.total)
        return self.evidence(np.log(self.rho)) + float(constant)


class OneTarget(Evidence):
    """One target's posterior mode and what the evidence says of prior and noise."""

    def __init__(self, rows: Rotated, target: Float[np.ndarray, " batch"], rho: float | None = None) -> None:
        self.centre = float(target.mean())
        self.rows, self.centred = rows.rows, target - self.centre
        products = self.rows.T.astype(np.float64) @ self.centred
        super().__init__(rows.eigenvalues, products, float(self.centred @ self.centred), len(target), rho)

    @property
    def spread(self) -> float:
        """The mean square of what each example is off by if it is not learned from."""
        square = 0.0
        for first in range(0, self.n, AT_ONCE):
            rows = self.rows[first : first + AT_ONCE].astype(np.float64)
            held = 1.0 / self.n + rows**2 @ (1.0 / (self.eigenvalues + self.rho))
            off = left_out(self.centred[first : first + AT_ONCE] - rows @ self.theta, held)
            square += float(off @ off)
        return bounded(square, self.square) / self.n


def left_out(residuals: Float[np.ndarray, " batch"], leverages: Float[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
    """What each example would be off by if it were not learned from; an example that alone knows a direction stays as it is."""
    known = 1.0 - leverages
    return np.where(known > 1e-9, residuals / np.maximum(known, 1e-9), residuals)


def bounded(left: float, square: float) -> float:
    """What is left of the squares of a target, not less than the noise that there always is."""
    return max(left, LEAST_NOISE * square, 1e-200)
