"""What labels would tell of the predictions for all the rest: expected predictive information gain, in its Gaussian form.

EPIG (Bickford Smith et al. 2023, "Prediction-oriented Bayesian active learning", eq. 5) is the mutual information between the label of a
candidate and that of another example, on average over what will be predicted. With Gaussian posteriors it is, as far as one label tells little
of another, half the variance that it takes from them, in units of the noise of their labels:
    1/2 sum_t trace B_t B_n^T (I + B_n B_n^T)^-1 B_n B_t^T.
The pool itself stands for what will be predicted. Picked one by one (V-optimal design), so that copies are picked once.
"""

import numpy as np
from jaxtyping import Float

from headstart.acquisitions._greedy import Roots, grams, one_by_one
from headstart.acquisitions._pool import Picked, Pool

WHY = "makes answers to others surest"
"""Of a picked example, for people."""
LEARNED = False
"""Whether it looks at what the model was trained on."""
JUDGED = 500
"""Examples of the pool that stand for what will be predicted."""


def pick(pool: Pool, count: int) -> Picked:
    """The set that makes predictions for the rest of the pool surest, as far as picking one after another finds it."""
    return one_by_one(pool, count, _gain, JUDGED)


def _gain(roots: Roots, targets: Float[np.ndarray, "judged outputs draws"]) -> Float[np.ndarray, " batch"]:
    flat = targets.reshape(-1, targets.shape[2])
    taken = roots @ (flat.T @ flat) @ roots.swapaxes(1, 2)
    return 0.5 * np.trace(np.linalg.solve(grams(roots), taken), axis1=1, axis2=2) / len(targets)
