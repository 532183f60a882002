"""What a training costs and what time it has: the clock of a verb, the reserve at its end, the price of an epoch."""

import math
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

STEPS_WORTH_MAKING = 10
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


def time_a_forward(state: TrainState, step_seconds: float = 0.0) -> None:
    """Notes how long the model takes for an image when it predicts, on the first validation images, while a step takes so long."""
    pixels = next(centres(state.parts["valid"]))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        predict.outputs(state.model, [pixels], state.parts["valid"].store.geometry)
        seconds.append((time.perf_counter() - started) / len(pixels))
    state.forward_took(statistics.median(seconds), step_seconds)


def seconds_at_the_end(state: TrainState, phase: Phase, step_seconds: float = 0.0) -> float:
    """What evaluation, the head and saving will take after the last step, while a step takes so long (0: as when last timed).

    A machine that gets busy slows steps and forwards alike, and steps are timed all the time.
    """
    spent = state.spent
    images = len(state.parts["valid"]) + (len(state.parts["train"]) if state.solves_again(phase) else 0)
    busier = step_seconds / spent["a step"] if step_seconds and spent.get("a step") else 1.0
    return busier * spent["a forward"] * images + seconds_after_forwards(state, phase)


def seconds_after_forwards(state: TrainState, phase: Phase) -> float:
    """What is left to do at the end when everything is evaluated: solve the head, save the model twice, leave."""
    solving = state.spent.get("solving", 0.0) if state.solves_again(phase) else 0.0
    return CLOSING_SECONDS + 2 * state.spent.get("saving", 1.0) + solving


def too_short(state: TrainState, clock: Clock, ending: float) -> str:
    """What to say when the minutes are over before a step of all layers could be made: the least that there must be."""
    assert clock.allowed is not None, "only a clock with a deadline can be too short"
    steps = STEPS_WORTH_MAKING * 3 * state.spent["a forward"] * state.settings.batch_size  # a step is about three forwards
    least = math.ceil((clock.allowed - clock.left() + ending + steps) / 6) / 10
    return (
        f"There is no time left to train further layers: what there is so far is kept. {clock.allowed / 60:g} minutes were asked for, "
        f"of which {duration(clock.allowed - clock.left())} are gone; the least with which more than the head is trained here "
        f"is about {least:.1f} minutes."
    )


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
