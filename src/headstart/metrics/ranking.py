"""How well scores put the examples that have a label before those that have not: areas under curves, averaged over labels."""

import numpy as np
from jaxtyping import Bool, Float

from headstart.metrics.measured import Measured, Z, bootstrapped, ranks, wilson

Scores = Float[np.ndarray, "batch labels"]
Has = Bool[np.ndarray, "batch labels"]


def mean_auroc(scores: Scores, has: Has, lacks: Has) -> Measured | None:
    """Chance that an example with a label gets a higher score for it than one without: mean over the labels; None without any.

    Labels that no example has, or none lacks, are left out. The variance is DeLong's (1988), extended to the mean over labels by
    adding each example's influence on all of them; the interval is symmetric on the logit scale.
    """
    n = len(scores)
    influence, values, smallest = np.zeros(n), [], n
    for score, positive, negative in zip(scores.T, has.T, lacks.T, strict=True):
        n_positive, n_negative = int(positive.sum()), int(negative.sum())
        if not n_positive or not n_negative:
            continue
        known = positive | negative
        rank, share = np.zeros(n), np.zeros(n)
        rank[known] = ranks(score[known])
        # of the other side that an example beats (for a negative: is beaten by), ties as half
        share[positive] = (rank[positive] - ranks(score[positive])) / n_negative
        share[negative] = 1 - (rank[negative] - ranks(score[negative])) / n_positive
        values.append(share[positive].mean())
        influence[known] += ((share - values[-1]) / np.where(positive, n_positive, n_negative))[known]
        smallest = min(smallest, n_positive, n_negative)
    if not values:
        return None
    value, deviation = float(np.mean(values)), float(np.sqrt((influence**2).sum())) / len(values)
    if not 0 < value < 1 or deviation == 0:
        low, high = (float(bound) for bound in wilson(value * smallest, smallest))
    else:
        odds, factor = value / (1 - value), np.exp(Z * deviation / (value * (1 - value)))
        low, high = float(odds / (odds + factor)), float(1 / (1 + 1 / (odds * factor)))
    return Measured(value, low, high, n)


def mean_average_precision(scores: Scores, has: Has, lacks: Has) -> Measured | None:
    """Mean over the labels of the average precision (scikit-learn's: no interpolation); None without a label to measure.

    Labels that no example has, or none lacks, tell nothing of an order and are left out. The interval is that of a bootstrap
    over the examples.
    """
    orders = [
        _Order(score, positive, negative)
        for score, positive, negative in zip(scores.T, has.T, lacks.T, strict=True)
        if positive.any() and negative.any()
    ]
    if not orders:
        return None

    def mean(counts: Float[np.ndarray, " batch"]) -> float:
        found = [order.average_precision(counts) for order in orders]
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    n = len(scores)
    value, (low, high) = mean(np.ones(n)), bootstrapped(mean, n, "mAP") or (None, None)
    if value == 1.0:  # every order is perfect, which no sample of these examples can doubt
        low = float(wilson(fewest := min(order.positives for order in orders), fewest)[0])
    return Measured(value, low, high, n)


class _Order:
    """The examples from the highest score of one label to the lowest, ties in one place."""

    def __init__(self, score: Float[np.ndarray, " batch"], has: Bool[np.ndarray, " batch"], lacks: Bool[np.ndarray, " batch"]):
        known = np.flatnonzero(has | lacks)
        self.rows = known[np.argsort(-score[known], kind="stable")]
        self.has = has[self.rows].astype(np.float64)
        self.positives = int(self.has.sum())
        self.ends = np.flatnonzero(np.append(np.diff(score[self.rows]) != 0, True))

    def average_precision(self, counts: Float[np.ndarray, " batch"]) -> float:
        """sum_k (R_k - R_(k-1)) P_k over the places, where each example counts so many times."""
        weights = counts[self.rows]
        true, every = np.cumsum(weights * self.has)[self.ends], np.cumsum(weights)[self.ends]
        if true[-1] == 0:
            return float("nan")
        steps = np.diff(true, prepend=0.0)
        return float((steps * true / np.maximum(every, 1e-300)).sum() / true[-1])
