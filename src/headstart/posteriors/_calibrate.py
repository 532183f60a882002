"""How far a posterior is to be believed, chosen on examples that did not train: its width, and the temperature of what it says.

A width below one makes a posterior "cold" (Wenzel et al. 2020, "How good is the Bayes posterior in deep neural networks really?"):
that of 1 / width times as many examples. With curated labels and a head on features that others have learned, the exact posterior
(width 1) is too unsure on most data, by HMC too (docs/decisions/0019); a tenth is what serves unseen examples where nothing else
is known, so the search starts from there and few examples do not move it far:
    minimise  sum of losses of the held-out examples + (log temperature)^2 / 2 s_T^2 + (log width - log 0.1)^2 / 2 s_w^2.
"""

import math
from collections.abc import Callable
from typing import Any

from headstart.core import Outputs, Task

USUAL_WIDTH = 0.1
WIDTHS = (0.01, 0.03, 0.1, 0.3, 1.0)
MOST = 1000
"""Held-out examples that are looked at."""
LOOSE_TEMPERATURE, LOOSE_WIDTH = 0.25, 1.5
"""Standard deviations of the logarithms before anything is seen."""
FARTHEST = 1.5
"""Of the logarithm of the temperature."""


def temperature(task: Task, outputs: Outputs, targets: Any) -> tuple[float, float]:
    """(temperature, what was minimised) for these held-out examples; (1, 0) where there are none."""
    count = len(targets)
    if not count:
        return 1.0, 0.0
    from scipy import optimize  # it takes half a second to import, and only fitting needs it

    nll = task.metrics(("nll",))["nll"]

    def penalised(log_temperature: float) -> float:
        loss = nll(task.tempered(outputs, math.exp(log_temperature)), targets).value
        return count * loss + 0.5 * (log_temperature / LOOSE_TEMPERATURE) ** 2

    found = optimize.minimize_scalar(penalised, bounds=(-FARTHEST, FARTHEST), method="bounded", options={"xatol": 0.02})
    return math.exp(float(found.x)), float(found.fun)


def width_and_temperature(task: Task, outputs: Callable[[float], Outputs], targets: Any) -> tuple[float, float]:
    """(width, temperature) for held-out examples, of which `outputs(width)` tells what is said."""
    if not len(targets):
        return USUAL_WIDTH, 1.0

    def tried(place: int) -> tuple[float, float, float]:
        width = WIDTHS[place]
        warm, loss = temperature(task, outputs(width), targets)
        return loss + 0.5 * (math.log(width / USUAL_WIDTH) / LOOSE_WIDTH) ** 2, width, warm

    place = WIDTHS.index(USUAL_WIDTH)
    best = tried(place)
    for step in (-1, 1):  # down from the usual width as long as it gets better, or else up
        here = place
        while 0 <= (here := here + step) < len(WIDTHS) and (found := tried(here)) < best:
            best = found
        if best[1] != USUAL_WIDTH:
            break
    return best[1], best[2]
