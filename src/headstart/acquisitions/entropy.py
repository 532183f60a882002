"""The least certain: the largest total uncertainty, whether a label could change it or not (Lewis and Gale 1994)."""

from headstart.acquisitions._pool import Picked, Pool, largest

WHY = "least certain"
"""Of a picked example, for people."""
LEARNED = False
"""Whether it looks at what the model was trained on."""


def pick(pool: Pool, count: int) -> Picked:
    """Those of which the prediction is least certain, each as if it were alone."""
    return largest(pool.known("total"), count)
