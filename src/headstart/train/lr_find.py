"""The learning-rate ramp: a copy of the model trained at rates that grow from step to step, until its loss runs away (Smith 2015)."""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import count

from headstart.core import Batch, Phase
from headstart.data.batches import training_batches
from headstart.errors import HeadstartError
from headstart.train import course as courses
from headstart.train import precision
from headstart.train.optim import set_rates
from headstart.train.state import TrainState
from headstart.train.step import step

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100
SMOOTH = 0.98
"""Share of its past that the smoothed loss keeps at each step."""
RUN_AWAY = 4.0
"""The ramp ends where the smoothed loss is so many times the lowest so far."""
SHORTEST = 3
"""A fall over fewer rates is chance."""


@dataclass(frozen=True)
class Ramp:
    """Peak rates of the last stage in ascending order, the loss of the batch that met each, and these losses smoothed."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]


def ramp(state: TrainState, phase: Phase) -> Ramp:
    """The losses on a ramp of rates from the model as it is, of which nothing is changed.

    Each stage learns at its own share of the rate, as in the phase. A loss is that of a batch before its step, so it shows what the
    rates before it have done.
    """
    model = deepcopy(state.model)
    phase = replace(phase, precision=precision.choose(model, state.objective, _batches(state, phase), phase, state.device))
    course = courses.start(model, phase, state.settings.seed)
    rates = [LOWEST * (HIGHEST / LOWEST) ** (place / (STEPS - 1)) for place in range(STEPS)]
    losses: list[float] = []
    for number, (rate, batch) in enumerate(zip(rates, _batches(state, phase), strict=False)):
        set_rates(course.optimizer, rate / phase.lr)
        loss = step(model, course.optimizer, batch, state.objective, phase, course.adapters, number)
        if loss is None:
            raise HeadstartError(
                f"memory does not suffice for a step of {len(batch.ids)} images in pieces of {phase.piece}. Give a smaller batch_size or size."
            )
        losses.append(float(loss))
        if ran_away(losses):
            break
    if not math.isfinite(losses[-1]):
        losses.pop()
    return Ramp(tuple(rates[: len(losses)]), tuple(losses), tuple(smoothed(losses)))


def smoothed(losses: list[float]) -> list[float]:
    """The exponential mean of the losses up to each, corrected for having begun at nothing."""
    found, mean = [], 0.0
    for place, loss in enumerate(losses):
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        found.append(mean / (1 - SMOOTH ** (place + 1)))
    return found


def ran_away(losses: list[float]) -> bool:
    """Whether the last loss is no number, or the smoothed loss is far above its lowest."""
    if not math.isfinite(losses[-1]):
        return True
    so_far = smoothed(losses)
    return so_far[-1] > RUN_AWAY * min(so_far)


def valley(found: Ramp) -> float | None:
    """The rate in the middle of the longest run over which the smoothed loss falls with every step; None where it hardly falls.

    The middle, because the end of the fall is where it is about to stop.
    """
    start = longest = end = 0
    for place in range(1, len(found.smoothed)):
        if not found.smoothed[place] < found.smoothed[place - 1]:
            start = place
        elif place - start > longest:
            longest, end = place - start, place
    return found.rates[end - longest + longest // 2] if longest >= SHORTEST else None


def _batches(state: TrainState, phase: Phase) -> Iterator[Batch]:
    """The batches of one epoch after another, as long as they are asked for."""
    for epoch in count(phase.first_epoch):
        yield from training_batches(state.parts["train"], phase, state.settings.seed, epoch, 0, state.device)
