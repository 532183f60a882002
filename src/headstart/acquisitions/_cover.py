"""Facility location: a set is worth sum_i w_i max_j cos(x_i, x_j) over the pool, with j in the set or among the training examples.

Picked one by one, which comes within 1 - 1/e of the best set (Nemhauser, Wolsey and Fisher 1978).
"""

import numpy as np
from jaxtyping import Float

from headstart.acquisitions._pool import Picked, Pool
from headstart.places import evenly

MOST = 4000
"""Examples that are looked at, evenly over the pool; and training examples."""


def covering(pool: Pool, count: int, weights: Float[np.ndarray, " pool"]) -> Picked:
    """`count` examples near to which the pool lies, each example of it as important as its weight."""
    looked_at = evenly(len(pool), max(MOST, count))
    weights = weights[looked_at].astype(np.float32)
    centre = pool.features[looked_at].mean(0)
    rows = _unit(pool.features[looked_at] - centre)
    alike = rows @ rows.T
    near = np.full(len(rows), -1.0, rows.dtype)
    learned = _unit(pool.learned[evenly(len(pool.learned), MOST)] - centre)
    if len(learned):
        near = (rows @ learned.T).max(1)
    places, scores = list[int](), list[float]()
    for _ in range(min(count, len(rows))):
        gains = weights @ np.maximum(alike - near[:, None], 0.0)
        gains[places] = -np.inf
        best = int(gains.argmax())
        places.append(best)
        scores.append(float(gains[best]))
        near = np.maximum(near, alike[best])
    return Picked(looked_at[places], np.array(scores))


def _unit(rows: Float[np.ndarray, "batch features"]) -> Float[np.ndarray, "batch features"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
