"""How good what is said of the places of images is, from how often each class was taken for each: `confusion` [batch, truth, said].

Places where nobody knows what is there count nothing. Intervals resample images, for places of one image are no independent
examples.
"""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Integer

from headstart.metrics.measured import Measured, bootstrapped, require_some

Confusion = Integer[np.ndarray, "batch classes classes"]


def miou(confusion: Confusion) -> Measured:
    """Mean over the classes of the shared part of what is one and what is said to be one (Jaccard index), all images together.

    Classes that neither are there nor are named are left out. The definition of scikit-learn's `jaccard_score(average="macro")`.
    """
    return _measured(confusion, lambda total: _mean(_iou(total)), "miou")


def pixel_accuracy(confusion: Confusion) -> Measured:
    """Share of the places whose class is the one that is named."""
    return _measured(confusion, lambda total: float(np.trace(total) / total.sum()) if total.sum() else float("nan"), "places")


def dice(confusion: Confusion) -> Measured:
    """Mean over the classes of the F1 score of their places (Dice 1945), all images together."""
    return _measured(confusion, lambda total: _mean(_dice(total)), "dice")


METRICS = MappingProxyType({metric.__name__: metric for metric in (miou, pixel_accuracy, dice)})
FASTAI = MappingProxyType(
    {"JaccardCoeff": "miou", "JaccardCoeffMulti": "miou", "foreground_acc": "pixel_accuracy", "Dice": "dice"}
)


def by_class(confusion: Confusion) -> list[Measured]:
    """The intersection over union of each class."""
    return [_measured(confusion, lambda total, at=at: float(_iou(total)[at]), f"iou {at}") for at in range(confusion.shape[1])]


def _measured(confusion: Confusion, statistic: Callable[[Float[np.ndarray, "classes classes"]], float], name: str) -> Measured:
    count = len(confusion)
    require_some(count)
    numbers = confusion.astype(np.float64)
    low, high = bootstrapped(lambda weights: statistic(np.tensordot(weights, numbers, 1)), count, name) or (None, None)
    value = statistic(numbers.sum(0))
    return Measured(value, None if low is None else min(low, value), None if high is None else max(high, value), count)


def _iou(total: Float[np.ndarray, "classes classes"]) -> Float[np.ndarray, " classes"]:
    shared = np.diag(total)
    whole = total.sum(0) + total.sum(1) - shared
    return np.divide(shared, whole, out=np.full(len(total), np.nan), where=whole > 0)


def _dice(total: Float[np.ndarray, "classes classes"]) -> Float[np.ndarray, " classes"]:
    whole = total.sum(0) + total.sum(1)
    return np.divide(2 * np.diag(total), whole, out=np.full(len(total), np.nan), where=whole > 0)


def _mean(values: Float[np.ndarray, " classes"]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
