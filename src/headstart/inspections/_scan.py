"""Whether marks lie together: neighbourhoods of several sizes around every example of a class, by Kulldorff's scan statistic.

(1997, "A spatial scan statistic", equation 4, the Bernoulli model), with c marks among the k of the neighbourhood, C among the N of the class,
where c/k is the larger share:
    log L = c log(c/k) + (k-c) log(1-c/k) + (C-c) log((C-c)/(N-k)) + (N-k-C+c) log(1-(C-c)/(N-k)) - C log(C/N) - (N-C) log(1-C/N).
The largest of all neighbourhoods of all classes is held against the largest of sets with the same marks dealt anew within each class, so that
chance is counted once for all that was looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import xlogy

from headstart.seeds import numpy_generator

SMALLEST, LARGEST, GROWTH = 6, 200, 1.4
"""Examples of a neighbourhood; it grows by this factor up to half of its class."""
HELD = 1 << 22
"""Neighbours of dealt sets that are held at once."""
DEALT = 499


@dataclass(frozen=True)
class Class:
    """The validation examples of one class, and around each of them the others by nearness."""

    number: int
    places: Int[np.ndarray, " own"]
    """Among the examples of the trace."""
    order: Int[np.ndarray, "own reach"]
    """For each its neighbours, itself first, as numbers among these."""

    @cached_property
    def sizes(self) -> Int[np.ndarray, " sizes"]:
        """Of the neighbourhoods."""
        count = int(np.log(self.order.shape[1] / SMALLEST) / np.log(GROWTH)) + 1
        return np.unique((SMALLEST * GROWTH ** np.arange(count)).astype(np.int64))

    def counts(self, wrong: Bool[np.ndarray, "sets own"]) -> Int[np.ndarray, "sets own sizes"]:
        """Errors in each neighbourhood, of each set of errors."""
        nearby = wrong[:, self.order[:, : self.sizes[-1]]].astype(np.int64)
        return np.add.reduceat(nearby, np.concatenate([[0], self.sizes[:-1]]), axis=2).cumsum(2)

    def ratios(self, wrong: Bool[np.ndarray, "sets own"]) -> Float[np.ndarray, "sets own sizes"]:
        """log L of each neighbourhood, 0 where its share of errors is not the larger; the sets have equally many errors."""
        return ratios(self.counts(wrong), self.sizes, int(wrong[0].sum()), wrong.shape[1])


def ratios(c: Int[np.ndarray, "*shape"], k: Int[np.ndarray, "*other"], total: int, count: int) -> Float[np.ndarray, "*shape"]:
    """The formula at the head of this file."""
    rest, outside = total - c, count - k
    inner, outer = c / k, rest / outside
    found = (
        xlogy(c, inner)
        + xlogy(k - c, 1 - inner)
        + xlogy(rest, outer)
        + xlogy(outside - rest, 1 - outer)
        - xlogy(total, total / count)
        - xlogy(count - total, 1 - total / count)
    )
    return np.where(inner > outer, found, 0.0)


def dealt(classes: Sequence[Class], errors: Sequence[Bool[np.ndarray, " own"]]) -> Float[np.ndarray, " dealt"]:
    """The largest ratio of each set in which the errors of every class are dealt anew among its examples."""
    draw, highest = numpy_generator(0, "slices"), np.zeros(DEALT)
    for own, each in zip(classes, errors, strict=True):
        pieces = -(-DEALT * own.order.size // HELD) if each.any() else 0
        for some in np.array_split(np.arange(DEALT), pieces) if pieces else ():
            anew = draw.permuted(np.tile(each, (len(some), 1)), axis=1)
            highest[some] = np.maximum(highest[some], own.ratios(anew).max((1, 2)))
    return highest
