"""How good predicted numbers are: `said` holds their Gaussian, `targets` [batch, targets] the truth, both in the user's units.

Where there are several targets, a figure is the mean over them (scikit-learn's "uniform_average").
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from headstart.metrics.measured import Measured, Z, average, bootstrapped, proportion, require_some

Numbers = Float[np.ndarray, "batch targets"]


class Said(NamedTuple):
    """A Gaussian for each target of each example."""

    mean: Numbers
    deviation: Numbers
    """Its standard deviation."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[batch, targets]."""
        return self.mean.shape


def rmse(said: Said, targets: Numbers) -> Measured:
    """Root of the mean squared error, in the units of the target."""
    squares = _residuals(said, targets) ** 2
    return _of_weights(lambda counts: float(np.sqrt(counts @ squares / counts.sum()).mean()), len(targets), "rmse")


def mae(said: Said, targets: Numbers) -> Measured:
    """Mean absolute error, in the units of the target."""
    return average(np.abs(_residuals(said, targets)).mean(1), 0.0)


def r2(said: Said, targets: Numbers) -> Measured:
    """Share of the variance of the target that is explained; below zero where its mean would be the better prediction."""
    squares = _residuals(said, targets) ** 2

    def value(counts: Float[np.ndarray, " batch"]) -> float:
        share = counts / counts.sum()
        variance = share @ (targets - share @ targets) ** 2
        return float((1 - (share @ squares) / variance).mean()) if (variance > 0).all() else float("nan")

    return _of_weights(value, len(targets), "r2")


def nll(said: Said, targets: Numbers) -> Measured:
    """Mean negative log-density of the truth in nats, for densities per unit of the target; summed over the targets."""
    scaled = _residuals(said, targets) / said.deviation
    return average((0.5 * scaled**2 + np.log(said.deviation) + 0.5 * np.log(2 * np.pi)).sum(1))


def crps(said: Said, targets: Numbers) -> Measured:
    """Continuous ranked probability score in the units of the target, of a Gaussian (Gneiting and Raftery 2007, eq. 21)."""
    z = -_residuals(said, targets) / said.deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return average((said.deviation * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))).mean(1), 0.0)


def coverage(said: Said, targets: Numbers) -> Measured:
    """Share of the truths inside the 95 % intervals, with Wilson's interval; .95 where the model knows how sure it is."""
    inside = np.abs(_residuals(said, targets)) <= Z * said.deviation
    return proportion(int(inside.sum()), inside.size)


METRICS = MappingProxyType({metric.__name__: metric for metric in (rmse, mae, r2, nll, crps, coverage)})
FASTAI = MappingProxyType({"R2Score": "r2", "mse": "rmse", "MSELossFlat": "rmse", "L1LossFlat": "mae", "valid_loss": "nll"})


def _residuals(said: Said, targets: Numbers) -> Numbers:
    require_some(len(targets))
    return said.mean.astype(np.float64) - targets


def _of_weights(statistic: Callable[[Float[np.ndarray, " batch"]], float], n: int, name: str) -> Measured:
    low, high = bootstrapped(statistic, n, name) or (None, None)
    return Measured(statistic(np.ones(n)), low, high, n)
