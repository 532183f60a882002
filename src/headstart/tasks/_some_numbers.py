"""What is told of an example that numbers are predicted of: each with its interval, and a set that holds the truth as often as asked for."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from headstart.core import Row
from headstart.metrics import measured
from headstart.tasks._arrays import machine_row, unlike_in_words
from headstart.tasks._promises import require_share


@dataclass(frozen=True, slots=True)
class RegressionPrediction:
    """What is told of one example: each number with its 95 % interval. `error` says why there is none."""

    id: str
    values: Float[np.ndarray, " targets"] | None
    deviations: Float[np.ndarray, " targets"] | None = field(repr=False)
    """Standard deviations, of the noise and of what is not known of the mean together."""
    names: tuple[str, ...] = field(repr=False)
    reach: float = field(default=measured.Z, repr=False)
    """Half of the interval, in standard deviations."""
    total: float | None = None
    aleatoric: float | None = None
    epistemic: float | None = None
    answer: float | None = None
    promised: bool | None = None
    ood: float | None = None
    error: str | None = None
    held: tuple[tuple[float, ...], ...] | None = field(default=None, repr=False, compare=False)
    """Of held-out examples, target by target: how many deviations they were off, the least first."""

    @property
    def text(self) -> str:
        """ "0.34 ± 0.12", with names where there are several numbers."""
        if self.values is None or self.deviations is None:
            return ""
        told = [in_digits(value, deviation) for value, deviation in zip(self.values, self.deviations, strict=True)]
        return told[0] if len(told) == 1 else ", ".join(f"{name} {text}" for name, text in zip(self.names, told, strict=True))

    @property
    def probability(self) -> float | None:
        """None: a number is not right or wrong."""
        return None

    @property
    def value(self) -> Any:
        """The number, or a number by name where there are several."""
        return None if self.values is None else self._named(list(map(float, self.values)))

    @property
    def interval(self) -> Any:
        """[low, high] of 95 %, or that by name."""
        if self.values is None or self.deviations is None:
            return None
        half = self.reach * self.deviations
        bounds = np.stack([self.values - half, self.values + half], axis=1)
        return self._named(bounds.tolist())

    def set(self, alpha: float = 0.1) -> Any:
        """[low, high] that holds the truth with a probability of 1 - `alpha`, whatever the noise is like, or that by name.

        Split conformal (Lei et al. 2018, "Distribution-free predictive inference for regression", section 5.2): as many deviations to both
        sides as the ceil((n + 1)(1 - alpha))-th of n held-out examples was off. Infinite where there are too few of them to tell.
        """
        require_share("alpha", alpha)
        if self.values is None or self.deviations is None:
            return None
        half = np.array([_reach(off, alpha) for off in self.held or ((),) * len(self.names)]) * self.deviations
        return self._named(np.stack([self.values - half, self.values + half], axis=1).tolist())

    def _named(self, each: list[Any]) -> Any:
        return each[0] if len(each) == 1 else dict(zip(self.names, each, strict=True))

    def row(self) -> Row:
        """The machine-readable contract of `predict --json`."""
        return machine_row(self, value=self.value, interval=self.interval)

    def __repr__(self) -> str:
        return f"Prediction({self.error if self.values is None else self.text}{unlike_in_words(self.ood)})"


def _reach(off: tuple[float, ...], alpha: float) -> float:
    """Deviations to both sides that hold the truth with 1 - `alpha`."""
    rank = math.ceil((len(off) + 1) * (1 - alpha))
    return off[rank - 1] if rank <= len(off) else math.inf


def in_digits(value: float, deviation: float) -> str:
    """ "0.34 ± 0.12": both to the second digit of the deviation."""
    if not math.isfinite(deviation) or deviation <= 0:
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{value:.{digits}f} ± {deviation:.{digits}f}"
