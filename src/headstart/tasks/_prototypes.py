"""Rows of a head for classes or labels that it has not seen, from their prototypes.

With z the inputs of the last layer, mu_c their mean over the training examples of c, mu over all training examples, w_k the K rows
that are there and w their mean, the row of c starts as its prototype on the scale of the others:
    w_c = w + s (mu_c - mu) / |mu_c - mu|,    s = 1/K sum_k |w_k - w|.
"""

import numpy as np
from jaxtyping import Bool, Float


def directions(
    inputs: Float[np.ndarray, "batch inputs"], has: Bool[np.ndarray, "batch new"], weight: Float[np.ndarray, "known inputs"]
) -> Float[np.ndarray, "new inputs"]:
    """The weights of each new row: formula at the head of this file. `has` tells which examples are of which."""
    middle = weight.mean(0)
    scale = float(np.linalg.norm(weight - middle, axis=1).mean())
    centre = inputs.mean(0)
    rows = []
    for members in has.T:
        away = inputs[members].mean(0) - centre if members.any() else np.zeros_like(centre)
        rows.append(middle + scale * away / max(float(np.linalg.norm(away)), 1e-12))
    return np.array(rows, np.float64).reshape(has.shape[1], -1)
