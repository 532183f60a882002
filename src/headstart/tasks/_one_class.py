"""What is told of an example that is of one class: its label, how sure that is, and what can be promised of it."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from headstart.core import Row
from headstart.tasks._arrays import machine_row, unlike_in_words
from headstart.tasks._promises import RISK, Promises, require_promised

EVEN, SURE = 0.5, 0.75


@dataclass(frozen=True, slots=True)
class SingleLabelPrediction:
    """What is told of one example. What only a posterior knows is None without one; `error` says why there is no label."""

    id: str
    label: str | None
    values: Float[np.ndarray, " classes"] | None = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    interval: tuple[float, float] | None = None
    """Of the probability of the label, 90 %: where it may be, from what is not known of the model."""
    total: float | None = None
    aleatoric: float | None = None
    epistemic: float | None = None
    answer: str | None = None
    promised: bool | None = None
    ood: float | None = None
    error: str | None = None
    promises: Promises | None = field(default=None, repr=False, compare=False)
    """What can be promised of such answers."""

    @property
    def text(self) -> str:
        """The most probable class."""
        return self.label or ""

    @property
    def probability(self) -> float | None:
        """Of the most probable class."""
        return None if self.values is None else float(self.values.max())

    @property
    def probs(self) -> dict[str, float]:
        """The probability of each class; empty if the input could not be read."""
        return {} if self.values is None else dict(zip(self.classes, map(float, self.values), strict=True))

    def answer_at(self, risk: float = RISK) -> str | None:
        """The label, where answers like it are wrong no more often than `risk`; None where the model does not know that.

        Raises:
            BadSetting: where nothing can be promised, with how many more held-out examples it takes at least.
        """
        if self.values is None:
            return None
        return self.label if self.values.max() >= require_promised(self.promises, risk) else None

    def set(self, alpha: float = 0.1) -> tuple[str, ...]:
        """The classes of which one is the true one with a probability of 1 - `alpha`, the most probable first; all where too few examples
        were held out to tell."""
        if self.values is None:
            return ()
        least = None if self.promises is None else self.promises.least(alpha)
        order = [int(place) for place in np.argsort(-self.values, kind="stable")]
        return tuple(
            self.classes[place] for rank, place in enumerate(order) if not rank or least is None or self.values[place] >= least
        )

    def row(self) -> Row:
        """The machine-readable contract of `predict --json`."""
        probs = None if self.values is None else self.probs
        return machine_row(self, label=self.label, probs=probs, interval=None if self.interval is None else list(self.interval))

    def __repr__(self) -> str:
        if self.values is None:
            return f"Prediction({self.error})"
        return f"Prediction({self.label} {in_percent(float(self.values.max()))} %{self._surety})"

    @property
    def _surety(self) -> str:
        """How sure it is, by the lower end of its interval, against even odds and three to one; nothing where that is not known."""
        strange = unlike_in_words(self.ood)
        if self.interval is None:
            return strange
        low, high = self.interval
        word = "sure" if low >= SURE else "rather sure" if low >= EVEN else "unsure"
        return f" ({in_percent(low)}-{in_percent(high)}){strange or f', {word}'}"


def in_percent(share: float) -> str:
    """ "93", and ">99" for what rounds to certainty."""
    whole = round(100 * share)
    return str(whole) if whole < 100 else ">99"
