"""The linear head solved to convergence: softmax regression on cached features, its prior chosen by the evidence.

With centred features x_n in units of their common spread and weights W ~ N(0, 1/alpha), the head is the maximum a posteriori
    W, b = argmax sum_n log softmax(x_n W + b)[y_n] - alpha/2 |W|^2
and alpha maximises Laplace's evidence (MacKay 1992, "The evidence framework applied to classification networks", eq. 2.8)
    log p(D | alpha) = log p(D | W) - alpha/2 |W|^2 - 1/2 log det(I + H(W) / alpha),    W and H at the mode for this alpha.
The search is over log alpha. MacKay's fixed point alpha = gamma / |W|^2 holds H constant; for a softmax whose curvature
shrinks as the fit gets confident it stops at a prior two to fifteen times too strong (docs/decisions/0003). No validation
data is looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, optimize
from threadpoolctl import ThreadpoolController

from headstart.curvature import SoftmaxCurvature, log_evidence, product, softmax, softmax_curvature

SEARCHED_DIRECTIONS = 512
"""The precision is searched with the leading so many directions, which hold nearly all of the evidence; the head uses all."""
ONE_THREAD = 20_000_000
TIGHT = {np.dtype(np.float64): 1e-14, np.dtype(np.float32): 1e-10}
"""Relative change of the loss at which the mode is found, for features of this kind: as far as their digits go."""
FLAT = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 3e-6}
"""Share of the largest eigenvalue below which one is not told from none, where directions are made of examples and not of features:
beneath it, single precision gives rows up to a hundred times as long as their eigenvalue says, and noise is learned by heart along them."""
LOWEST_PRECISION, HIGHEST_PRECISION = 1e-3, 1e8


class Linear(NamedTuple):
    """What a linear head computes: outputs = features @ weight.T + bias."""

    weight: Float[np.ndarray, "outputs features"]
    bias: Float[np.ndarray, " outputs"]


@dataclass(frozen=True)
class SolvedHead:
    """The solved head in the units of the raw features: outputs = features @ weight.T + bias."""

    weight: Float[np.ndarray, "outputs features"]
    bias: Float[np.ndarray, " outputs"]
    precision: Float[np.ndarray, " outputs"]
    """Of the prior of each output's weights, in units of the features' common spread; infinite where they are held to be known."""
    effective_parameters: float
    log_evidence: float
    evaluations: int
    turned: "Rotated | None" = None
    """The features that it was solved on, in their eigenbasis: a posterior of the same head needs them again."""

    @property
    def typical_precision(self) -> float:
        """The geometric mean of those that are finite."""
        finite = self.precision[np.isfinite(self.precision)]
        return float(np.exp(np.log(finite).mean())) if len(finite) else float("inf")


@dataclass(frozen=True)
class Rotated:
    """Centred features in units of their common spread, in the eigenbasis of their covariance, where the problem is nearly diagonal."""

    rows: Float[np.ndarray, "batch rank"]
    eigenvalues: Float[np.ndarray, " rank"]
    basis: Float[np.ndarray, "features rank"]
    mean: Float[np.ndarray, " features"]
    scale: float

    def leading(self, most: int) -> "Rotated":
        """The same problem with the directions of largest variance only."""
        return Rotated(
            np.ascontiguousarray(self.rows[:, -most:]), self.eigenvalues[-most:], self.basis[:, -most:], self.mean, self.scale
        )


def solve_softmax(
    features: Float[np.ndarray, "batch features"],
    targets: Int[np.ndarray, " batch"],
    classes: int,
    precision: float | None = None,
    weights: Float[np.ndarray, " batch"] | None = None,
    on_round: Callable[[int, float], None] | None = None,
) -> SolvedHead:
    """The maximum a posteriori softmax head on `features`, with the prior's precision chosen by the evidence unless given.

    Args:
        features: one row per training example, raw from the backbone; more features than examples are welcome.
        targets: class numbers in [0, classes); a class may be absent (its logit then falls as far as the prior lets it).
        weights: of the examples, mean one; all equal when None.
        on_round: told (round, precision) after each solve, for a progress display.
    """
    return solve_rotated(rotated(features), targets, classes, precision, weights, on_round)


def solve_rotated(
    rows: Rotated,
    targets: Int[np.ndarray, " batch"],
    classes: int,
    precision: float | None = None,
    weights: Float[np.ndarray, " batch"] | None = None,
    on_round: Callable[[int, float], None] | None = None,
) -> SolvedHead:
    """`solve_softmax` on features that are rotated already."""
    weights = np.ones(len(targets)) if weights is None else weights
    bias, rounds = _prior_bias(targets, classes), 0
    if precision is None:
        quick = _Search(rows.leading(SEARCHED_DIRECTIONS), targets, weights, bias, on_round)
        precision, rounds = quick.best_precision(), quick.evaluations
    search = _Search(rows, targets, weights, bias, on_round)
    mode, curvature, evidence = search.at(precision, tolerance=TIGHT[rows.rows.dtype])
    weight = (rows.basis @ mode.theta) / rows.scale
    return SolvedHead(
        weight=np.ascontiguousarray(weight.T),
        bias=mode.bias - rows.mean @ weight,
        precision=np.full(classes, precision),
        effective_parameters=curvature.effective_parameters(precision),
        log_evidence=evidence,
        evaluations=rounds + search.evaluations,
        turned=rows,
    )


@dataclass(frozen=True)
class _Mode:
    theta: Float[np.ndarray, "rank classes"]
    bias: Float[np.ndarray, " classes"]
    log_likelihood: float
    spread: float
    """Mean curvature of the loss by one logit, which scales the next solve."""


class _Search:
    """Modes along log alpha, each started from the one before it."""

    def __init__(
        self,
        turned: Rotated,
        targets: Int[np.ndarray, " batch"],
        weights: Float[np.ndarray, " batch"],
        bias: Float[np.ndarray, " classes"],
        on_round: Callable[[int, float], None] | None,
    ) -> None:
        self.turned, self.targets, self.weights, self.on_round = turned, targets, weights, on_round
        classes = len(bias)
        self.mode = _Mode(np.zeros((turned.rows.shape[1], classes)), bias, 0.0, (1.0 - 1.0 / classes) / classes)
        self.rounds = self.evaluations = 0

    def at(self, alpha: float, tolerance: float = 1e-5) -> tuple[_Mode, SoftmaxCurvature, float]:
        """(mode, curvature, log evidence) for the precision `alpha`."""
        self.mode, calls = _maximum(self.turned, self.targets, self.weights, alpha, self.mode, tolerance)
        probs = softmax(self.turned.rows @ self.mode.theta + self.mode.bias).astype(self.turned.rows.dtype)
        curvature = softmax_curvature(self.turned.rows, probs, self.turned.eigenvalues, self.weights)
        self.evaluations += calls
        self.rounds += 1
        if self.on_round is not None:
            self.on_round(self.rounds, alpha)
        norm = float((self.mode.theta**2).sum())
        return self.mode, curvature, log_evidence(self.mode.log_likelihood, norm, curvature, alpha)

    def best_precision(self) -> float:
        """The precision with the largest evidence, to some 5 %: the maximum is flat and the mode hardly moves within that."""
        start = np.log(max(1.0, 0.05 * len(self.targets)))
        found: Any = optimize.minimize_scalar(
            lambda log_alpha: -self.at(float(np.exp(log_alpha)))[2],
            bracket=(start + 1.0, start),
            method="brent",
            options={"xtol": 0.03, "maxiter": 20},
        )
        return float(np.clip(np.exp(found.x), LOWEST_PRECISION, HIGHEST_PRECISION))


def _prior_bias(targets: Int[np.ndarray, " batch"], classes: int) -> Float[np.ndarray, " classes"]:
    counts = np.bincount(targets, minlength=classes) + 0.5
    logs = np.log(counts / counts.sum())
    return logs - logs.mean()


def rotated(features: Float[np.ndarray, "batch features"]) -> Rotated:
    """Centre, scale, rotate; directions without variance are left out, so at most min(batch, features) columns remain.

    All features share one scale. Giving each its own would raise those that hardly vary to the weight of those that do; the
    evidence is higher without (docs/decisions/0004).
    """
    mean = features.mean(0, dtype=np.float64)
    scale = max(float(features.std(0, dtype=np.float64).mean()), 1e-12)
    kind = np.float64 if features.size <= 2**20 else np.float32  # beyond a million numbers, half the memory traffic
    centred = ((features - mean) / scale).astype(kind)
    few = len(centred) < centred.shape[1]
    square = product(centred, centred.T) if few else product(centred.T, centred)
    values, vectors = linalg.eigh(square, driver="evd", overwrite_a=True)
    keep = values > (FLAT[np.dtype(kind)] if few else 1e-9) * max(values[-1], 1e-12)
    basis = product(centred.T, vectors[:, keep] / np.sqrt(values[keep])) if few else vectors[:, keep]
    return Rotated(product(centred, basis), values[keep].astype(np.float64), basis, mean, scale)


@dataclass(frozen=True)
class _Objective:
    """The penalised loss and its gradient, in coordinates in which the curvature is near one."""

    rows: Float[np.ndarray, "batch rank"]
    targets: Int[np.ndarray, " batch"]
    weights: Float[np.ndarray, " batch"]
    alpha: float
    stretch: Float[np.ndarray, "rank 1"]
    """From a coordinate to a number of theta, by direction; `bias_stretch` to a bias."""
    bias_stretch: float

    def point(
        self, flat: Float[np.ndarray, " numbers"]
    ) -> tuple[Float[np.ndarray, "rank classes"], Float[np.ndarray, " classes"]]:
        """theta and biases at these coordinates."""
        point = flat.reshape(len(self.stretch) + 1, -1)
        return point[:-1] * self.stretch, point[-1] * self.bias_stretch

    def coordinates(
        self, theta: Float[np.ndarray, "rank classes"], bias: Float[np.ndarray, " classes"]
    ) -> Float[np.ndarray, " numbers"]:
        """The inverse of `point`."""
        return np.concatenate([theta / self.stretch, bias[None] / self.bias_stretch]).ravel()

    def __call__(self, flat: Float[np.ndarray, " numbers"]) -> tuple[float, Float[np.ndarray, " numbers"]]:
        rows, targets, examples = self.rows, self.targets, np.arange(len(self.targets))
        theta, bias = self.point(flat)
        logits = rows @ theta.astype(rows.dtype) + bias
        logits -= logits.max(1, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(1))
        loss = float((self.weights * (normaliser - logits[examples, targets])).sum())
        residual = np.exp(logits - normaliser[:, None])
        residual[examples, targets] -= 1.0
        residual *= self.weights[:, None]
        inner = (rows.T @ residual.astype(rows.dtype) + self.alpha * theta) * self.stretch
        gradient = np.concatenate([inner, (residual.sum(0) * self.bias_stretch)[None]])
        return loss + 0.5 * self.alpha * float((theta**2).sum()), gradient.ravel()


@cache
def _pools() -> ThreadpoolController:
    """The libraries of linear algebra, looked for once: that takes a millisecond or two."""
    return ThreadpoolController()


def _maximum(
    turned: Rotated,
    targets: Int[np.ndarray, " batch"],
    weights: Float[np.ndarray, " batch"],
    alpha: float,
    start: _Mode,
    tolerance: float,
) -> tuple[_Mode, int]:
    """The mode at `alpha` and how often the loss was evaluated, by L-BFGS."""
    rows = turned.rows
    stretch = 1.0 / np.sqrt(start.spread * turned.eigenvalues + alpha)[:, None]
    objective = _Objective(rows, targets, weights, alpha, stretch, float(1.0 / np.sqrt(start.spread * weights.sum())))
    origin = objective.coordinates(start.theta, start.bias)
    options = {"maxiter": 500, "maxcor": 20, "ftol": tolerance, "gtol": 1e-6 if tolerance < 1e-9 else 1e-4}
    # Small products gain nothing from a second thread and wait long for it on a busy machine
    threads = 1 if rows.size * len(start.bias) < ONE_THREAD else None
    with _pools().limit(limits=threads):
        found = optimize.minimize(objective, origin, jac=True, method="L-BFGS-B", options=options)
    theta, bias = objective.point(found.x)
    probs = softmax(rows @ theta + bias)
    spread = max(float((probs * (1.0 - probs)).mean()), 1e-4)
    log_likelihood = -(float(found.fun) - 0.5 * alpha * float((theta**2).sum()))
    return _Mode(theta, bias - bias.mean(), log_likelihood, spread), int(found.nfev)
