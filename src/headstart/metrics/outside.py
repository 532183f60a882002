"""How well a score tells what is outside from what is inside: the positive class is the outside, and high scores should mean it.

Inside are examples like those that a model has learned from, outside are others. Beware when comparing: some papers (ODIN, energy scores)
count the inside as positive, which changes `fpr95`.
"""

import numpy as np
from jaxtyping import Float

from headstart.errors import DataError
from headstart.metrics.measured import Measured, proportion
from headstart.metrics.ranking import mean_auroc

Inside = Float[np.ndarray, " inside"]
Outside = Float[np.ndarray, " outside"]


def auroc(inside: Inside, outside: Outside) -> Measured:
    """Chance that an example from outside has a higher score than one from inside, ties as half; DeLong's interval."""
    _require(inside, outside)
    scores = np.concatenate([inside, outside])[:, None]
    is_out = (np.arange(len(scores)) >= len(inside))[:, None]
    found = mean_auroc(scores, is_out, ~is_out)
    assert found is not None, "there are examples of both kinds"
    return found


def fpr95(inside: Inside, outside: Outside) -> Measured:
    """Share of the inside that is taken for outside by the highest threshold that finds 95 % of the outside; Wilson's interval."""
    _require(inside, outside)
    threshold = np.sort(outside)[len(outside) - int(np.ceil(0.95 * len(outside)))]
    return proportion(int((inside >= threshold).sum()), len(inside))


def _require(inside: Inside, outside: Outside) -> None:
    if not len(inside) or not len(outside):
        raise DataError(f"a score is judged on examples from inside and from outside, got {len(inside)} and {len(outside)}.")
