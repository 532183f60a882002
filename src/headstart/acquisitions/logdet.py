"""What labels would tell of the weights together: the log-determinant of a Gaussian posterior, greedily (D-optimal design).

The information of the labels of a set about the weights is 1/2 log det(I + B B^T) over the set. One by one, each pick knows what those
before it tell, so that copies of one example are picked once (Kirsch and Gal 2022, "Unifying approaches in active learning", section 5).
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from headstart.acquisitions._greedy import Roots, grams, one_by_one
from headstart.acquisitions._pool import Picked, Pool

WHY = "tells most about the model"
"""Of a picked example, for people."""
LEARNED = False
"""Whether it looks at what the model was trained on."""


def pick(pool: Pool, count: int) -> Picked:
    """The set that tells most of the weights, as far as picking one after another finds it."""
    return one_by_one(pool, count, _information, 0)


def _information(roots: Roots, _targets: Any) -> Float[np.ndarray, " batch"]:
    return 0.5 * np.linalg.slogdet(grams(roots))[1]
