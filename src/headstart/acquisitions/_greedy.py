"""Picking one after another, each knowing what those before it will tell: Gaussian posteriors after further labels.

With B of `Pool.roots`, a label of n leaves of the posterior of all the rest
    B_m (I + B_n^T B_n)^-1 B_m^T,    so that B_m becomes B_m T with T T^T = (I + B_n^T B_n)^-1 (Woodbury).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from headstart.acquisitions._pool import Picked, Pool
from headstart.places import evenly

MOST = 2000
"""Examples that are looked at together: those with the largest scores by themselves."""
Roots = Float[np.ndarray, "batch outputs draws"]
Score = Callable[[Roots, Roots], Float[np.ndarray, " batch"]]
"""Of what each of some candidates tells, given the roots of the candidates and of all that is to be predicted."""


def one_by_one(pool: Pool, count: int, score: Score, judged: int) -> Picked:
    """`count` places by the largest score each, whatever was picked before counted as labelled; `judged` examples stand for all."""
    roots = pool.roots
    targets = roots[evenly(len(roots), judged)]
    candidates = np.argsort(-score(roots, targets), kind="stable")[: max(MOST, count)]
    left = roots[candidates]
    taken, scores = list[int](), list[float]()
    for _ in range(min(count, len(candidates))):
        found = score(left, targets)
        found[taken] = -np.inf
        best = int(found.argmax())
        taken.append(best)
        scores.append(float(found[best]))
        left, targets = told(left, left[best]), told(targets, left[best])
    return Picked(candidates[taken], np.array(scores))


def told(roots: Roots, by: Float[np.ndarray, "outputs draws"]) -> Roots:
    """The roots once the example whose own is `by` has a label."""
    _, values, directions = np.linalg.svd(by, full_matrices=False)
    less = 1.0 / np.sqrt(1.0 + values**2) - 1.0
    return roots + (roots @ directions.T * less.astype(roots.dtype)) @ directions


def grams(roots: Roots) -> Float[np.ndarray, "batch outputs outputs"]:
    """I + B_n B_n^T."""
    found = roots @ roots.swapaxes(1, 2)
    found[:, np.arange(found.shape[1]), np.arange(found.shape[1])] += 1.0
    return found
