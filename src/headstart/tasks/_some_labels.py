"""What is told of an example that has any number of labels: which, how probable each is, and what can be promised of them together."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from headstart.core import Row
from headstart.metrics import labels as rules
from headstart.places import evenly
from headstart.tasks._arrays import machine_row, unlike_in_words
from headstart.tasks._promises import MOST, RISK, Promises, require_promised

NONE = "none of them"
"""What is said of an example without labels."""
Probs = Float[np.ndarray, "batch labels"]


@dataclass(frozen=True, slots=True)
class MultiLabelPrediction:
    """What is told of one example. What only a posterior knows is None without one; `error` says why there is nothing."""

    id: str
    labels: tuple[str, ...] | None
    values: Float[np.ndarray, " labels"] | None = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    total: float | None = None
    aleatoric: float | None = None
    epistemic: float | None = None
    answer: tuple[str, ...] | None = None
    promised: bool | None = None
    ood: float | None = None
    error: str | None = None
    surety: float | None = field(default=None, repr=False)
    """The probability that all labels are right, taken for independent."""
    promises: "LabelPromises | None" = field(default=None, repr=False, compare=False)
    """What can be promised of such answers."""

    @property
    def text(self) -> str:
        """The labels that it has."""
        return ", ".join(self.labels or ()) or NONE

    @property
    def probability(self) -> float | None:
        """None: each label has its own."""
        return None

    @property
    def probs(self) -> dict[str, float]:
        """The probability of each label; empty if the input could not be read."""
        return {} if self.values is None else dict(zip(self.names, map(float, self.values), strict=True))

    def answer_at(self, risk: float = RISK) -> tuple[str, ...] | None:
        """The labels, where in answers like these any is wrong or missing no more often than `risk`; None where that is not known.

        Raises:
            BadSetting: where nothing can be promised, with how many more held-out examples it takes at least.
        """
        if self.surety is None:
            return None
        threshold = require_promised(None if self.promises is None else self.promises.answers, risk)
        return self.labels if self.surety >= threshold else None

    def set(self, alpha: float = 0.1) -> tuple[str, ...]:
        """Labels among which are all that the example has, with a probability of 1 - `alpha`, the most probable first; all labels where
        too few examples were held out to tell."""
        if self.values is None:
            return ()
        least = None if self.promises is None else self.promises.sets.least(alpha)
        order = np.argsort(-self.values, kind="stable")
        return tuple(self.names[place] for place in order.tolist() if least is None or self.values[place] >= least)

    def row(self) -> Row:
        """The machine-readable contract of `predict --json`."""
        said = None if self.labels is None else list(self.labels)
        return machine_row(self, labels=said, probs=None if self.values is None else self.probs)

    def __repr__(self) -> str:
        return f"Prediction({self.error if self.values is None else self.text}{unlike_in_words(self.ood)})"


@dataclass(frozen=True)
class LabelPromises:
    """Of held-out examples: how probable their labels as said were, all together, and whether all were right; and the least probability
    of a label that each has."""

    answers: Promises
    sets: Promises

    @classmethod
    def of(cls, probs: Probs, truths: Probs) -> "LabelPromises | None":
        """From what was said of held-out examples of which all labels are known; None where there are not two.

        The labels of each half are said with the thresholds that suit the other half, as none should be judged by its own choice.
        """
        whole = ~np.isnan(truths).any(1)
        probs, has = probs[whole].astype(np.float64), truths[whole] > 0.5
        if len(probs) < 2:
            return None
        said = np.empty_like(has)
        for half in (slice(0, None, 2), slice(1, None, 2)):
            other = slice(1 - (half.start or 0), None, 2)
            said[half] = probs[half] >= rules.best_thresholds(probs[other], has[other].astype(np.float64))
        some = evenly(len(probs), MOST)
        together, right = surety(probs, said)[some], (said == has).all(1)[some]
        least = np.where(has, probs, 1.0).min(1)[some]
        return cls(
            Promises(tuple(together.tolist()), tuple(np.where(right, together, -1.0).tolist())),
            Promises(tuple(least.tolist()), tuple(least.tolist())),
        )


def surety(probs: Probs, said: Bool[np.ndarray, "batch labels"]) -> Float[np.ndarray, " batch"]:
    """The probability that all labels of an example are as they are said, taken for independent."""
    return np.where(said, probs, 1.0 - probs).prod(1)
