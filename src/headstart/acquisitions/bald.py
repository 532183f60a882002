"""What a label would tell of the weights: mutual information (Houlsby et al. 2011, "Bayesian active learning by disagreement", eq. 2)."""

from headstart.acquisitions._pool import Picked, Pool, largest

WHY = "seen too little of its kind"
"""Of a picked example, for people."""
LEARNED = False
"""Whether it looks at what the model was trained on."""


def pick(pool: Pool, count: int) -> Picked:
    """Those with the largest epistemic uncertainty, each as if it were alone: two copies are both picked."""
    return largest(pool.known("epistemic"), count)
