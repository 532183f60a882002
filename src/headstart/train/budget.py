"""What a training costs and what time it has: the clock of a verb, the reserve at its end, the price of an epoch."""

import statistics
import time
from copy import deepcopy
from dataclasses import dataclass, replace

from headstart.core import Phase, StepDone
from headstart.data.batches import centres, training_batches
from headstart.evaluate import predict
from headstart.model import norm_mode, set_trainable
from headstart.train import precision
from headstart.train.observers.rows import duration
from headstart.train.optim import make_optimizer
from headstart.train.state import TrainState
from headstart.train.step import step

FORWARDS_VARY = 1.1
"""How much longer than last time the forwards after the last step may take."""
CLOSING_SECONDS = 1.0
"""For the curve, the card and leaving, beside what is measured."""


@dataclass(frozen=True)
class Clock:
    """Seconds of work in the verb so far and in the verbs before it."""

    before: float
    started: float
    allowed: float | None = None
    """Seconds from the start to the deadline, None where there is none."""

    @classmethod
    def start(cls, before: float = 0.0, minutes: float | None = None, already: float = 0.0) -> "Clock":
        """Running since `already` seconds ago, with so many minutes to use from then on."""
        return cls(before, time.perf_counter() - already, None if minutes is None else 60 * minutes)

    def left(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return float("inf") if self.allowed is None else self.allowed - (time.perf_counter() - self.started)

    def seconds(self) -> float:
        """Since the first verb of the run began, idle time between verbs left out."""
        return self.before + time.perf_counter() - self.started


def time_a_forward(state: TrainState) -> None:
    """Notes how long the model takes for an image when it predicts, on the first validation images."""
    pixels = next(centres(state.parts["valid"]))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        predict.outputs(state.model, [pixels], state.parts["valid"].store.geometry)
        seconds.append((time.perf_counter() - started) / len(pixels))
    state.spent["a forward"] = statistics.median(seconds)


def seconds_at_the_end(state: TrainState, phase: Phase) -> float:
    """What evaluation, the head and saving will take after the last step, from what they took last."""
    spent = state.spent
    solves = state.solves_again(phase)
    images = len(state.parts["valid"]) + (len(state.parts["train"]) if solves else 0)
    known = 2 * spent.get("saving", 1.0) + spent.get("solving", 0.0) + spent.get("changes", 0.0)
    return FORWARDS_VARY * spent["a forward"] * images + CLOSING_SECONDS + known


def epoch_seconds(state: TrainState, phase: Phase) -> float:
    """About how long an epoch of the phase takes here: two steps of a copy of the model, and the validation after it."""
    train, settings = state.parts["train"], state.settings
    model = deepcopy(state.model)
    batch = next(training_batches(train, phase, settings.seed, 1, 0, state.device))
    chosen = precision.choose(model, state.task, iter([batch]), phase, state.device)
    set_trainable(model, phase.first_stage)
    norm_mode(model, phase.norms)
    optimizer, seconds = make_optimizer(model, phase), []
    for _ in range(2):
        started = time.perf_counter()
        step(model, optimizer, batch, state.task, replace(phase, precision=chosen))
        seconds.append(time.perf_counter() - started)
    per_image = min(seconds) / len(batch.ids)
    return per_image * (len(train) + len(state.parts["valid"]) / 3)  # a forward is about a third of a step


def cost_in_words(per_step: float, steps_per_epoch: int, event: StepDone) -> str:
    """What an epoch costs, and when the phase will end."""
    seconds = event.left if event.left is not None else per_step * (event.steps - event.step)
    end = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    epochs = seconds / (per_step * steps_per_epoch)
    return f"An epoch takes about {duration(per_step * steps_per_epoch)}; {epochs:.1f} to come will be done at about {end}."
