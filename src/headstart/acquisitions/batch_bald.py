"""What the labels of a batch would tell of the weights together, by the joint entropy of their answers.

Kirsch, van Amersfoort and Gal 2019, "BatchBALD", eq. 8: I(y_1 ... y_b; w) = H(y_1 ... y_b) - sum_i E_w H(y_i | w), picked greedily. The joint
entropy is a sum over all combinations of answers while there are few of them; then over some, drawn as they are probable, each weighed by
what it stands for (their section 3.4).
"""

import numpy as np
from jaxtyping import Float

from headstart.acquisitions._pool import OneAnswer, Picked, Pool
from headstart.errors import BadSetting
from headstart.seeds import numpy_generator
from headstart.tasks._softmax import entropy

WHY = "tells most about the model"
"""Of a picked example, for people."""
LEARNED = False
"""Whether it looks at what the model was trained on."""
MOST = 2000
"""Examples that are looked at together: those that tell most by themselves."""
COMBINATIONS = 500
Shares = Float[np.ndarray, "draws batch answers"]


def pick(pool: Pool, count: int) -> Picked:
    """The batch that tells most of the weights, as far as picking one after another finds it."""
    task = pool.task
    if not isinstance(task, OneAnswer):
        raise BadSetting(
            f'by="batch_bald" counts combinations of answers, and what {task.name} tells is not one of a few answers. Take by="logdet".'
        )
    shares = np.asarray(task.answer_probabilities(pool.together), np.float64)
    own = entropy(shares).mean(0)
    alone = entropy(shares.mean(0)) - own
    candidates = np.argsort(-alone, kind="stable")[: max(MOST, count)]
    places, scores, total = list[int](), list[float](), 0.0
    joint = Joint(np.ones((len(shares), 1)), np.ones(1))
    for step in range(min(count, len(candidates))):
        found = joint.entropies(shares[:, candidates]) - own[candidates] - own[places].sum()
        found[np.isin(candidates, places)] = -np.inf
        best = int(found.argmax())
        places.append(int(candidates[best]))
        scores.append(float(found[best]) - total)
        total = float(found[best])
        joint = joint.with_one(shares[:, places[-1]], numpy_generator(0, "batch_bald", str(step)))
    return Picked(np.array(places, np.int64), np.array(scores))


class Joint:
    """Combinations of the answers to what was picked: how probable each is under each draw, and how many it stands for."""

    def __init__(self, shares: Float[np.ndarray, "draws combinations"], counts: Float[np.ndarray, " combinations"]) -> None:
        self.shares, self.counts = shares, counts

    def entropies(self, shares: Shares) -> Float[np.ndarray, " batch"]:
        """The entropy of these combinations together with the answer to each candidate, in nats."""
        draws, batch, answers = shares.shape
        together = self.shares.T @ shares.reshape(draws, -1) / draws
        return self.counts @ entropy(together.reshape(-1, batch, answers))

    def with_one(self, shares: Float[np.ndarray, "draws answers"], draw: np.random.Generator) -> "Joint":
        """With the answers to one more; above `COMBINATIONS` some of all."""
        wider = (self.shares[:, :, None] * shares[:, None]).reshape(len(shares), -1)
        counts = np.repeat(self.counts, shares.shape[1])
        if len(counts) <= COMBINATIONS:
            return Joint(wider, counts)
        mass = counts * wider.mean(0)
        mass = mass / mass.sum()
        chosen = draw.choice(len(counts), COMBINATIONS, p=mass)
        return Joint(wider[:, chosen], counts[chosen] / (COMBINATIONS * mass[chosen]))
