"""The most typical of what was not seen yet: examples near to which all others lie, whatever the model says of them.

Facility location (`_cover`). With very few labels, where a model does not know yet what it does not know, typical examples are what serves
(Hacohen et al. 2022, "Active learning on a budget").
"""

import numpy as np

from headstart.acquisitions._cover import covering
from headstart.acquisitions._pool import Picked, Pool

WHY = "stands for others like it"
"""Of a picked example, for people."""
LEARNED = True
"""Whether it looks at what the model was trained on."""


def pick(pool: Pool, count: int) -> Picked:
    """The set that the pool lies nearest to, with what was learned from counted in."""
    return covering(pool, count, np.ones(len(pool)))
