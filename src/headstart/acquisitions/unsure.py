"""The most typical of what the model is unsure of: examples near to which most of the others lie whose answers a label could change.

Facility location as in `cover`, with each example of the pool counted by what is not known of its answer (weights of the objective are
the authors' own generalisation: Wei, Iyer and Bilmes 2015, "Submodularity in data subset selection and active learning", section 5):
    sum_i u_i max_j cos(x_i, x_j),    u_i the epistemic uncertainty of i, j in the set or among the training examples.
What is odd and alone is not picked, however unsure the model is of it, nor what it knows already, however typical.
"""

from headstart.acquisitions._cover import covering
from headstart.acquisitions._pool import Picked, Pool

WHY = "stands for others that the model is unsure of"
"""Of a picked example, for people."""
LEARNED = True
"""Whether it looks at what the model was trained on."""


def pick(pool: Pool, count: int) -> Picked:
    """The set that what the model is unsure of lies nearest to, with what was learned from counted in."""
    return covering(pool, count, pool.known("epistemic"))
