"""What can be promised of answers, from examples that did not train: how often they are wrong, and which classes hold the truth.

**Answers.** The most probable class is answered where its probability is at least t. Of k held-out examples that are answered at t, the
number of wrong ones is binomial with the risk of t. So "risk of t > r" is rejected at level d where P(Binomial(k, r) <= wrong) <= d.
Thresholds of a fixed grid are tested from the highest down until one is not rejected (Angelopoulos et al. 2021, "Learn then Test", fixed
sequence testing; it starts where so many are answered that one wrong answer does not decide, or, where there are fewer, none): with a
confidence of 1 - d over the draw of the held-out examples, an answer is wrong with a probability of at most r.

**Sets.** All classes with a probability of at least 1 - q, q the ceil((n + 1)(1 - a))-th smallest of 1 - p(truth) over the n held-out examples
(Sadinle, Lei and Wasserman 2019; Vovk, Gammerman and Shafer 2005): the truth is in them with a probability of at least 1 - a. The most
probable class is always in.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from headstart.errors import BadSetting
from headstart.places import evenly

RISK = 0.05
CONFIDENCE = 0.9
GRID = (
    0.9995,
    0.999,
    0.998,
    0.995,
    0.99,
    0.98,
    0.97,
    0.95,
    0.925,
    0.9,
    0.875,
    0.85,
    0.8,
    0.75,
    0.7,
    0.65,
    0.6,
    0.55,
    0.5,
    0.4,
    0.3,
    0.0,
)
ROUNDING = 1e-12
MOST = 5000
"""Held-out examples that are remembered."""


@dataclass(frozen=True)
class Promises:
    """Of held-out examples: the probability of the most probable class, and that of the true one."""

    best: tuple[float, ...]
    true: tuple[float, ...]

    @classmethod
    def of(cls, probs: Float[np.ndarray, "batch classes"], places: Int[np.ndarray, " batch"]) -> "Promises":
        """From what was said of held-out examples, and the places of the true classes."""
        some = evenly(len(probs), MOST)
        best, true = probs.max(1)[some], probs[np.arange(len(probs)), places][some]
        return cls(tuple(best.tolist()), tuple(true.tolist()))

    def threshold(self, risk: float = RISK, confidence: float = CONFIDENCE) -> float | None:
        """The lowest probability from which on answers are wrong no more often than `risk`; None where nothing can be promised."""
        require_share("risk", risk)
        require_share("confidence", confidence)
        best, wrong = np.array(self.best), np.array(self.true) < np.array(self.best)
        first = fewest(risk, confidence, errors=1)
        first = first if first <= len(best) else fewest(risk, confidence)
        found = None
        for threshold in GRID:
            answered = best >= threshold
            count = int(answered.sum())
            if count < first:
                continue
            if special.bdtr(int(wrong[answered].sum()), count, risk) > 1 - confidence + ROUNDING:
                break
            found = threshold
        return found

    def missing(self, risk: float = RISK, confidence: float = CONFIDENCE) -> int:
        """How many more held-out examples it takes at least to promise anything."""
        return max(0, fewest(risk, confidence) - len(self.best))

    def least(self, alpha: float) -> float | None:
        """The probability from which on a class is in the set that holds the truth with 1 - `alpha`; None where so few examples cannot tell."""
        require_share("alpha", alpha)
        rank = math.ceil((len(self.true) + 1) * (1 - alpha))
        return None if rank > len(self.true) else float(np.sort(self.true)[::-1][rank - 1])

    @classmethod
    def from_state(cls, state: Mapping[str, Sequence[float]]) -> "Promises":
        """Those whose `state()` this is."""
        return cls(tuple(map(float, state["best"])), tuple(map(float, state["true"])))

    def state(self) -> dict[str, list[float]]:
        """Plain JSON."""
        return {"best": list(self.best), "true": list(self.true)}


def require_promised(promises: Promises | None, risk: float) -> float:
    """The probability from which on answers keep to this risk.

    Raises:
        BadSetting: where nothing can be promised, with why, and how many more held-out examples it takes at least.
    """
    threshold = None if promises is None else promises.threshold(risk)
    if threshold is None:
        raise BadSetting(f"no risk of {risk:g} can be promised here: {_why_not(promises, risk)}")
    return threshold


def _why_not(promises: Promises | None, risk: float) -> str:
    """Why nothing is promised, and what it takes."""
    if promises is None:
        return "no validation images have told how often the model is wrong."
    if missing := promises.missing(risk):
        return f"at least {missing} more validation images are needed."
    return "among the validation images too few of the surest answers are right."


def fewest(risk: float, confidence: float, errors: int = 0) -> int:
    """Examples of which no more than so many are answered wrongly, so that `risk` can be promised with this confidence.

    Without errors these are the n from which on (1 - risk)^n <= 1 - confidence.
    """
    count = max(errors + 1, math.floor(math.log(1 - confidence) / math.log(1 - risk)) - 1)
    while special.bdtr(errors, count, risk) > 1 - confidence + ROUNDING:
        count += 1
    return count


def require_share(name: str, share: float) -> None:
    """Raises `BadSetting` for what is no share of all."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise BadSetting(f"{name} must be between 0 and 1, got {share!r}. 0.05 is usual.")
