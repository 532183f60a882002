"""Of any number of labels per example: a logistic regression for each label, its prior chosen by its own evidence.

A logistic regression with weights w and prior precision alpha is a softmax of two classes with the weights +-w/2 and the
precision 2 alpha, which `head_solve` solves.
"""

import numpy as np
from jaxtyping import Float

from headstart.errors import BadSetting
from headstart.train.head_solve import Linear, SolvedHead, rotated, solve_rotated


def solve(
    features: Float[np.ndarray, "batch features"],
    targets: Float[np.ndarray, "batch labels"],
    came_with: Linear,
    weights: Float[np.ndarray, " batch"] | None = None,
) -> SolvedHead:
    """The heads of all labels at their modes, one row each.

    A label of which nothing is known keeps its row; one that all or none of the examples have gets its share as bias alone.

    Args:
        targets: 1 has the label, 0 has it not, no number: nobody knows, and the example is left out for this label.
    """
    if weights is not None:
        raise BadSetting("examples with several labels cannot be weighed by class. Leave balance at none.")
    weight, bias = came_with.weight.astype(np.float64), came_with.bias.astype(np.float64)
    whole = rotated(features)
    solved: list[SolvedHead] = []
    precision = np.full(len(bias), np.inf)
    for label, column in enumerate(targets.T):
        known = ~np.isnan(column)
        has = column[known] > 0.5
        if not known.any():
            continue
        if has.all() or not has.any():
            weight[label], bias[label] = 0.0, np.log((has.sum() + 0.5) / ((~has).sum() + 0.5))
            continue
        rows = whole if known.all() else rotated(features[known])
        head = solve_rotated(rows, has.astype(np.int64), 2)
        weight[label], bias[label] = head.weight[1] - head.weight[0], head.bias[1] - head.bias[0]
        solved.append(head)
        precision[label] = 0.5 * head.typical_precision
    return SolvedHead(
        weight=weight,
        bias=bias,
        precision=precision,
        effective_parameters=sum(head.effective_parameters for head in solved),
        log_evidence=sum(head.log_evidence for head in solved),
        evaluations=sum(head.evaluations for head in solved),
        turned=whole,
    )
