"""How a truth lies around its prediction, at centre 0 and scale 1: densities, quantiles and scores in closed form."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy import special

from headstart.metrics.measured import Z

Numbers = Float[np.ndarray, "*shape"]


@runtime_checkable
class Noise(Protocol):
    """A symmetric distribution whose only unknowns are its centre and its scale."""

    @property
    def deviation(self) -> float:
        """Its standard deviation."""
        ...

    @property
    def reach(self) -> float:
        """Half of its 95 % interval."""
        ...

    def log_density(self, z: Numbers) -> Numbers:
        """In nats."""
        ...

    def cdf(self, z: Numbers) -> Numbers:
        """Probability of less."""
        ...

    def crps(self, z: Numbers) -> Numbers:
        """Continuous ranked probability score where the truth is `z`."""
        ...


@dataclass(frozen=True, slots=True)
class Gaussian:
    """The normal distribution."""

    deviation: float = 1.0
    reach: float = Z

    def log_density(self, z: Numbers) -> Numbers:
        """-z^2 / 2 - log(2 pi) / 2."""
        return -0.5 * z**2 - 0.5 * np.log(2 * np.pi)

    def cdf(self, z: Numbers) -> Numbers:
        """Phi(z)."""
        return special.ndtr(z)

    def crps(self, z: Numbers) -> Numbers:
        """z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi) (Gneiting and Raftery 2007, eq. 21)."""
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        return z * (2 * special.ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi)


@dataclass(frozen=True, slots=True)
class Student:
    """Student's t distribution, whose tails are the heavier the fewer degrees of freedom it has; more than two of them."""

    freedom: float

    @property
    def deviation(self) -> float:
        """sqrt(f / (f - 2)), of a scale of 1."""
        return math.sqrt(self.freedom / (self.freedom - 2))

    @property
    def reach(self) -> float:
        """The quantile of .975."""
        return float(special.stdtrit(self.freedom, 0.975))

    def log_density(self, z: Numbers) -> Numbers:
        """log G((f + 1) / 2) - log G(f / 2) - log(f pi) / 2 - (f + 1) / 2 log(1 + z^2 / f)."""
        free = self.freedom
        constant = special.gammaln((free + 1) / 2) - special.gammaln(free / 2) - 0.5 * np.log(free * np.pi)
        return constant - 0.5 * (free + 1) * np.log1p(z**2 / free)

    def cdf(self, z: Numbers) -> Numbers:
        """F(z)."""
        return special.stdtr(self.freedom, z)

    def crps(self, z: Numbers) -> Numbers:
        """z (2 F(z) - 1) + 2 p(z) (f + z^2) / (f - 1) - 2 sqrt(f) B(1/2, f - 1/2) / ((f - 1) B(1/2, f/2)^2).

        Source: Jordan, Krüger and Lerch (2019), "Evaluating Probabilistic Forecasts with scoringRules", appendix A.
        """
        free = self.freedom
        least = 2 * np.sqrt(free) / (free - 1) * special.beta(0.5, free - 0.5) / special.beta(0.5, free / 2) ** 2
        spread = 2 * np.exp(self.log_density(z)) * (free + z**2) / (free - 1)
        return z * (2 * special.stdtr(free, z) - 1) + spread - least


GAUSSIAN = Gaussian()
STUDENT = Student(4.0)
"""Heavy enough in its tails that a wild number pulls at nothing, light enough to have a variance (Lange, Little and Taylor 1989)."""
