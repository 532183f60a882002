"""Of one class per example: `head_solve` on the classes that there are examples of."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from headstart.errors import DataError
from headstart.train.head_solve import Linear, SolvedHead, solve_softmax


def solve(
    features: Float[np.ndarray, "batch features"],
    targets: Int[np.ndarray, " batch"],
    came_with: Linear,
    weights: Float[np.ndarray, " batch"] | None = None,
) -> SolvedHead:
    """The head at its mode. A class that an earlier training knew and this one has no example of keeps its row of `came_with`.

    Args:
        weights: of the examples, mean one; all equal when None.

    Raises:
        DataError: where there is nothing to tell apart.
    """
    classes, there = len(came_with.bias), np.unique(targets)
    if len(there) == 1:
        raise DataError(
            f"all that is known of what is to be learned from is of one class (number {there[0] + 1} of {classes}), so there is nothing "
            "to tell apart. Label something of another class too."
        )
    if len(there) == classes:
        return solve_softmax(features, targets, classes, weights=weights)
    solved = solve_softmax(features, np.searchsorted(there, targets), len(there), weights=weights)
    weight, bias = came_with.weight.astype(np.float64), came_with.bias.astype(np.float64)
    weight[there], bias[there] = solved.weight, solved.bias
    precision = np.full(classes, np.inf)
    precision[there] = solved.precision
    return replace(solved, weight=weight, bias=bias, precision=precision)
