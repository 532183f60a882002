"""How good predicted numbers are: `said` holds their distributions, `targets` [batch, targets] the truth, both in the user's units.

Where there are several targets, a figure is the mean over them (scikit-learn's "uniform_average").
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from headstart.metrics.measured import Measured, average, bootstrapped, proportion, require_some
from headstart.metrics.noise import GAUSSIAN, Noise

Numbers = Float[np.ndarray, "batch targets"]


class Said(NamedTuple):
    """A distribution for each target of each example, by default a Gaussian."""

    mean: Numbers
    deviation: Numbers
    """Its standard deviation."""
    noise: Noise = GAUSSIAN
    """Its form."""

    @property
    def scale(self) -> Numbers:
        """What stretches the form to that deviation."""
        return self.deviation / self.noise.deviation

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
    density = said.noise.log_density(_residuals(said, targets) / said.scale)
    return average((np.log(said.scale) - density).sum(1))


def crps(said: Said, targets: Numbers) -> Measured:
    """Continuous ranked probability score in the units of the target (Gneiting and Raftery 2007): 0 is a sure, true answer."""
    z = -_residuals(said, targets) / said.scale
    return average((said.scale * said.noise.crps(z)).mean(1), 0.0)


def coverage(said: Said, targets: Numbers) -> Measured:
    """Share of the truths inside the 95 % intervals, with Wilson's interval; .95 where the model knows how sure it is."""
    inside = np.abs(_residuals(said, targets)) <= said.noise.reach * said.scale
    return proportion(int(inside.sum()), inside.size)


def pit_gap(said: Said, targets: Numbers) -> Measured:
    """How far the places of the truths in their distributions are from being equally often anywhere: 0 where the model knows how sure it is.

    The largest distance between the distribution of the probability integral transforms and the uniform one (Dawid 1984;
    Kolmogorov). The interval holds for any distribution (Massart 1990): twice exp(-2 n e^2) is the chance to be off by more than e.
    """
    places = np.sort(said.noise.cdf(-_residuals(said, targets) / said.scale), axis=0)
    n = len(places)
    steps = np.arange(n + 1)[:, None] / n
    gap = float(np.maximum(steps[1:] - places, places - steps[:-1]).max(0).mean())
    off = float(np.sqrt(np.log(2 * places.shape[1] / 0.05) / (2 * n)))
    return Measured(gap, max(0.0, gap - off), min(1.0, gap + off), n)


METRICS = MappingProxyType({metric.__name__: metric for metric in (rmse, mae, r2, nll, crps, coverage, pit_gap)})
FASTAI = MappingProxyType({"R2Score": "r2", "mse": "rmse", "MSELossFlat": "rmse", "L1LossFlat": "mae", "valid_loss": "nll"})


def _residuals(said: Said, targets: Numbers) -> Numbers:
    require_some(len(targets))
    return said.mean.astype(np.float64) - targets


def _of_weights(statistic: Callable[[Float[np.ndarray, " batch"]], float], n: int, name: str) -> Measured:
    low, high = bootstrapped(statistic, n, name) or (None, None)
    return Measured(statistic(np.ones(n)), low, high, n)
