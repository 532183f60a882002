"""Statistics of paired comparisons: the same splits for both, so what varies from split to split cancels.

Test parts of several seeds overlap, so errors pooled over seeds are not as many independent trials as their count says:
intervals and p-values of pooled errors are a little too sure. The intervals over seeds do not have this flaw.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; `low` and `high` are infinite when there is one value only."""

    mean: float
    low: float
    high: float
    n: int

    def exp(self) -> "Interval":
        """Of logarithms of ratios: the geometric mean of the ratios with its interval."""
        return Interval(math.exp(self.mean), math.exp(self.low), _exp(self.high), self.n)

    def __str__(self) -> str:
        if self.n < 2:
            return f"{self.mean:.3f} (n = 1)"
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f}, n = {self.n})"


def paired_t(differences: Sequence[float]) -> Interval:
    """Mean and 95 % Student interval of differences of pairs.

    Raises:
        ValueError: when there are none.
    """
    if not differences:
        raise ValueError("there are no pairs to compare.")
    mean, n = statistics.fmean(differences), len(differences)
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def ratios(after: Sequence[float], before: Sequence[float]) -> Interval:
    """Geometric mean of after / before with its paired 95 % interval."""
    return paired_t([math.log(a / b) for a, b in zip(after, before, strict=True)]).exp()


@dataclass(frozen=True)
class Errors:
    """Two ways of answering the same questions: `only_first` were wrong in the first alone, `only_second` in the second alone."""

    first: int
    second: int
    only_first: int
    only_second: int
    n: int

    @property
    def p(self) -> float:
        """Exact McNemar test: how likely so unequal a division of the disagreements is, if neither way is better."""
        disagreements = self.only_first + self.only_second
        return float(stats.binomtest(self.only_second, disagreements).pvalue) if disagreements else 1.0

    @property
    def difference(self) -> Interval:
        """Error rate of the second less that of the first, with the paired 95 % interval of Agresti and Min (2005)."""
        exact = (self.only_second - self.only_first) / self.n
        # half a case more in each of the four cells keeps the interval honest where there are few disagreements
        n, b, c = self.n + 2, self.only_second + 0.5, self.only_first + 0.5
        middle = (b - c) / n
        half = 1.959964 * math.sqrt(b + c - (b - c) ** 2 / n) / n
        return Interval(exact, middle - half, middle + half, self.n)

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.first + other.first,
            self.second + other.second,
            self.only_first + other.only_first,
            self.only_second + other.only_second,
            self.n + other.n,
        )

    def __str__(self) -> str:
        d = self.difference
        return (
            f"{self.first} -> {self.second} of {self.n} (only the first wrong {self.only_first}, only the second "
            f"{self.only_second}, p = {self.p:.3g}; {100 * d.mean:+.2f} points, {100 * d.low:+.2f} to {100 * d.high:+.2f})"
        )


NO_ERRORS = Errors(0, 0, 0, 0, 0)


def compared(first: Sequence[str], second: Sequence[str], n: int) -> Errors:
    """From the names of what each got wrong, of `n`."""
    one, other = set(first), set(second)
    return Errors(len(one), len(other), len(one - other), len(other - one), n)


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
