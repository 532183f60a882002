"""A number with its 95 % interval, how intervals are made, and a metric from a function of one's own: arithmetic on arrays."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from headstart.errors import BadSetting, DataError
from headstart.seeds import numpy_generator

Z = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""
DRAWS = 1000
COLUMNS = frozenset({"epoch", "stage", "train_loss", "valid_loss", "lr", "seconds", "run", "rows", "best", "kept", "note"})


@dataclass(frozen=True, slots=True)
class Measured:
    """A number from `n` examples with its 95 % interval; `low` and `high` are None where none can be given."""

    value: float
    low: float | None
    high: float | None
    n: int

    def __repr__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.4f}{interval} (n = {self.n:,})"

    def json(self) -> dict[str, Any]:
        """`{value, low, high, n}`."""
        return asdict(self)


Metric = Callable[[Any, Any], Measured]
"""Maps what a model says of a batch, as its task puts it (probabilities, values), and the truth to a `Measured`."""


def from_function(function: Callable[[Any, Any], Any], said: str = "probs [batch, classes]") -> Metric:
    """A metric from your own `function(said, targets) -> float`, called by its `__name__`.

    It gets NumPy arrays; `said` tells in words what the first one is. It has no interval, unless it returns a `Measured` itself.

    Raises:
        BadSetting: if it has no usable name; and when it is called, if it fails or gives no number.
    """
    name = getattr(function, "__name__", type(function).__name__)
    if not name.isidentifier():
        raise BadSetting(f'a metric needs a name to be shown under, and this one is called "{name}". Define it with def.')
    if name in COLUMNS:
        raise BadSetting(f'a metric cannot be called "{name}": that is a column of the table already. Rename the function.')

    def metric(given: Any, targets: Any) -> Measured:
        try:
            result = function(given, targets)
            return result if isinstance(result, Measured) else Measured(float(result), None, None, len(targets))
        except Exception as error:
            raise BadSetting(
                f"the metric {name} failed on {said.split()[0]} {given.shape} and targets {targets.shape}: "
                f"{type(error).__name__}: {error}. It should take two NumPy arrays, {said} and targets, and return one number."
            ) from error

    metric.__name__ = name
    return metric


def require_some(count: int) -> None:
    """Raises `DataError` when there is nothing to measure."""
    if not count:
        raise DataError("there are no labelled examples to measure on. Give some, or a larger share for validation (valid=).")


# ---------------------------------------------------------------------------------------------------------------- intervals


def wilson(successes: Any, n: Any) -> tuple[Any, Any]:
    """Lower and upper bound of a proportion (Wilson 1927): what a score test at 5 % does not reject."""
    share = successes / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return np.clip(np.minimum(middle - half, share), 0, 1), np.clip(np.maximum(middle + half, share), 0, 1)


def proportion(successes: int, n: int) -> Measured:
    """A share of `n` with Wilson's interval; not a number where there are none."""
    if not n:
        return Measured(float("nan"), None, None, 0)
    low, high = wilson(successes, n)
    return Measured(successes / n, float(low), float(high), n)


def average(values: Float[np.ndarray, " batch"], least: float = -np.inf, most: float = np.inf) -> Measured:
    """A mean with its normal interval, cut to what the quantity can be."""
    n, value = len(values), float(values.mean())
    if n == 1:
        return Measured(value, None, None, 1)
    half = Z * float(values.std(ddof=1)) / n**0.5
    return Measured(value, max(least, value - half), min(most, value + half), n)


def draws_for(size: int) -> int:
    """How many bootstrap samples there is time for where one of them handles `size` numbers."""
    return DRAWS if size <= 20_000 else DRAWS // 5


def resampled(values: Float[np.ndarray, "batch bins"], name: str) -> Float[np.ndarray, "draws bins"]:
    """Sums over the examples of bootstrap samples, with a fixed seed."""
    n = len(values)
    generator = numpy_generator(0, "metrics", name)
    return np.concatenate(
        [generator.multinomial(n, np.full(n, 1 / n), size=draws_for(n) // 10).astype(np.float64) @ values for _ in range(10)]
    )


def bootstrapped(
    statistic: Callable[[Float[np.ndarray, " batch"]], float], n: int, name: str, draws: int = DRAWS // 5
) -> tuple[float, float] | None:
    """The 95 % percentile interval of a statistic of weighted examples, with a fixed seed (Efron 1979).

    `statistic` takes how often each example counts. None where too few samples give a number. A figure that samples move to one
    side (examples that come twice raise a precision) need not lie in it, and the interval is then made to reach it.
    """
    generator = numpy_generator(0, "metrics", name)
    counts = generator.multinomial(n, np.full(n, 1 / n), size=draws)
    found = np.array([statistic(each.astype(np.float64)) for each in counts])
    found = found[np.isfinite(found)]
    if len(found) < draws // 2 or n < 2:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    itself = statistic(np.ones(n))
    return float(min(low, itself)), float(max(high, itself))


def ranks(values: Float[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
    """Places in ascending order from 1; equal values share the mean of their places."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
