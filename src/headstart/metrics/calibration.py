"""How well confidence fits what happens: calibration errors, and what may be answered at which risk. Probabilities are float64.

A calibration error alone says little: who always answers with the shares of the classes has none. Errors of the plain kind are too large
by what chance puts into the bins, so the interval reaches far below the value: from the lower bound of the pivotal bootstrap to the
larger of the pivotal and the percentile upper bound. With 150 or 1,000 examples of seven simulated classifiers it held the true
`ece` in 93 to 97 % of the cases, where either bootstrap alone fell to 84 and 45 %.
"""

import numpy as np
from jaxtyping import Float, Int

from headstart.metrics.measured import Measured, average, bootstrapped, resampled, wilson

Probs = Float[np.ndarray, "batch classes"]
Targets = Int[np.ndarray, " batch"]

BINS = 15
LARGEST = 20_000_000
"""Gaps that are held at once for an interval."""


def ece(probs: Probs, targets: Targets) -> Measured:
    """Expected calibration error: mean gap of confidence and accuracy over 15 equal-width bins of confidence (Guo 2017, eq. 3)."""
    confidence, right = _confident(probs, targets)
    return _of_gaps(confidence - right, _equal_width(confidence), BINS, "ece")


def ece_equal_mass(probs: Probs, targets: Targets) -> Measured:
    """The same over 15 bins with equally many examples (Nguyen and O'Connor 2015): few bins are empty where a model is sure of all."""
    confidence, right = _confident(probs, targets)
    return _of_gaps(confidence - right, _equal_mass(confidence), BINS, "ece_equal_mass")


def ece_classwise(probs: Probs, targets: Targets) -> Measured:
    """Mean over the classes of the calibration error of their own probability, over 15 equal-width bins (Kull et al. 2019, eq. 3).

    Without an interval where examples times classes are very many.
    """
    n, classes = probs.shape
    gaps = probs - (targets[:, None] == np.arange(classes))
    places = _equal_width(probs) + BINS * np.arange(classes)
    if n * classes * BINS > LARGEST:
        sums = np.bincount(places.ravel(), gaps.ravel(), BINS * classes)
        return Measured(float(np.abs(sums).sum() / (n * classes)), None, None, n)
    spread = np.zeros((n, BINS * classes))
    spread[np.arange(n)[:, None], places] = gaps
    return _interval(spread / classes, "ece_classwise")


def ece_debiased(probs: Probs, targets: Targets) -> Measured:
    """Root of the mean squared gap over 15 equal-mass bins, less what chance alone would make of it.

    sqrt(max(0, sum_b n_b / n ((conf_b - acc_b)^2 - acc_b (1 - acc_b) / (n_b - 1)))) (Kumar, Liang and Ma 2019, "Verified uncertainty
    calibration", definition 4.1). Zero where chance explains all. The interval is that of a bootstrap over the examples.
    """
    confidence, right = _confident(probs, targets)
    inside = _equal_mass(confidence)

    def statistic(counts: Float[np.ndarray, " batch"]) -> float:
        sizes = np.bincount(inside, counts, BINS)
        some = sizes > 1
        gap, share = (np.bincount(inside, counts * value, BINS)[some] / sizes[some] for value in (confidence - right, right))
        found = (sizes[some] / sizes.sum()) @ (gap**2 - share * (1 - share) / (sizes[some] - 1))
        return float(np.sqrt(max(0.0, found)))

    n = len(targets)
    low, high = bootstrapped(statistic, n, "ece_debiased") or (None, None)
    return Measured(statistic(np.ones(n)), low, high, n)


def overconfidence(probs: Probs, targets: Targets) -> Measured:
    """Mean confidence less accuracy: above zero the model promises too much, below it could be surer.

    The interval is that of a mean; where all answers are right, or all wrong, that of the accuracy (Wilson's).
    """
    confidence, right = _confident(probs, targets)
    if 0 < right.sum() < len(right):
        return average(confidence - right, -1.0, 1.0)
    low, high = wilson(right.sum(), len(right))
    told = float(confidence.mean())
    return Measured(told - float(right.mean()), told - float(high), told - float(low), len(right))


def aurc(probs: Probs, targets: Targets) -> Measured:
    """Area under the risk-coverage curve: the share of wrong answers among the surest, on average over how many are answered.

    (Geifman and El-Yaniv 2017; Ding et al. 2020.) 0 where every right answer is surer than every wrong one and none is wrong; the error rate
    where confidence tells nothing. Answers that are equally sure are taken in any order. The interval is that of a bootstrap; where
    nothing is wrong, that of the error rate.
    """
    confidence, right = _confident(probs, targets)
    order = np.argsort(-confidence, kind="stable")
    wrong = 1.0 - right[order]
    ties = np.append(0, np.cumsum(np.diff(confidence[order]) != 0))

    def statistic(counts: Float[np.ndarray, " batch"]) -> float:
        each = counts[order]
        answered, failed = np.bincount(ties, each), np.bincount(ties, each * wrong)
        before, so_far = np.cumsum(answered) - answered, np.cumsum(failed) - failed
        group = np.repeat(ties, each.astype(int))
        place = np.arange(1, len(group) + 1)
        inside = (place - before[group]) / answered[group]  # of its ties, how many are answered with it
        return float(((so_far[group] + failed[group] * inside) / place).mean())

    n = len(targets)
    if not wrong.any():
        return Measured(0.0, 0.0, float(wilson(0, n)[1]), n)
    low, high = bootstrapped(statistic, n, "aurc") or (None, None)
    return Measured(statistic(np.ones(n)), low, high, n)


def _confident(probs: Probs, targets: Targets) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
    """The probability of the most probable class, and one where that is the true one, else zero."""
    return probs.max(1), (probs.argmax(1) == targets).astype(np.float64)


def _equal_width(values: Float[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """The bin of each value in [0, 1]; 1 lies in the last."""
    return np.minimum(np.searchsorted(np.linspace(0, 1, BINS + 1), values, side="right") - 1, BINS - 1)


def _equal_mass(confidence: Float[np.ndarray, " batch"]) -> Int[np.ndarray, " batch"]:
    """The bin of each value; equal values share one."""
    edges = np.quantile(confidence, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, confidence, side="left")


def _of_gaps(gaps: Float[np.ndarray, " batch"], inside: Int[np.ndarray, " batch"], bins: int, name: str) -> Measured:
    spread = np.zeros((len(gaps), bins))
    spread[np.arange(len(gaps)), inside] = gaps
    return _interval(spread, name)


def _interval(gaps: Float[np.ndarray, "batch bins"], name: str) -> Measured:
    """Sum over the bins of the absolute mean gap, with the interval that the head of this file describes."""
    n = len(gaps)
    value = float(np.abs(gaps.sum(0)).sum() / n)
    draws = np.abs(resampled(gaps, name)).sum(1) / n
    least, most = np.quantile(draws, [0.025, 0.975])
    return Measured(
        value, float(np.clip(2 * value - most, 0.0, value)), float(np.clip(max(2 * value - least, most), value, 1.0)), n
    )
