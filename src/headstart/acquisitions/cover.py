"""The most typical of what was not seen yet: examples near to which all others lie, whatever the model says of them.

Facility location (Wei, Iyer and Bilmes 2015, "Submodularity in data subset selection and active learning"): a set is worth
sum_i max_j cos(x_i, x_j) over the pool, with j in the set or among the training examples; picked one by one. With few labels, where
a model does not know yet what it does not know, this is what serves (Hacohen et al. 2022, "Active learning on a budget").
"""

import numpy as np
from jaxtyping import Float

from headstart.acquisitions._pool import Picked, Pool

WHY = "others that are like it"
LEARNED = True
"""Whether it looks at what the model was trained on."""
MOST = 4000
"""Examples that are looked at, evenly over the pool; and training examples."""


def pick(pool: Pool, count: int) -> Picked:
    """The set that the pool lies nearest to, with what was learned from counted in."""
    looked_at = _some(len(pool))
    centre = pool.features[looked_at].mean(0)
    rows = _unit(pool.features[looked_at] - centre)
    alike = rows @ rows.T
    near = np.full(len(rows), -1.0, rows.dtype)
    learned = _unit(pool.learned[_some(len(pool.learned))] - centre)
    if len(learned):
        near = (rows @ learned.T).max(1)
    places, scores = list[int](), list[float]()
    for _ in range(min(count, len(rows))):
        gains = np.maximum(alike - near[:, None], 0.0).sum(0)
        gains[places] = -np.inf
        best = int(gains.argmax())
        places.append(best)
        scores.append(float(gains[best]))
        near = np.maximum(near, alike[best])
    return Picked(looked_at[places].astype(np.int64), np.array(scores))


def _unit(rows: Float[np.ndarray, "batch features"]) -> Float[np.ndarray, "batch features"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _some(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, MOST)).round().astype(int)
