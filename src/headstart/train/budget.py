"""What a training costs and what time it has: the clock of a verb, the reserve at its end, the price of an epoch."""

import statistics
import time
from collections.abc import Sequence
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
    return (
        FORWARDS_VARY * spent["a forward"] * images + CLOSING_SECONDS + 2 * spent.get("saving", 1.0) + spent.get("solving", 0.0)
    )


def epoch_seconds(state: TrainState, phase: Phase) -> float:
    """About how long an epoch of the phase takes here with the validation after it."""
    batches = training_batches(state.parts["train"], phase, state.settings.seed, 1, 0, state.device)
    chosen = precision.choose(deepcopy(state.model), state.task, batches, phase, state.device)
    share = len(state.parts["valid"]) / 3 / len(state.parts["train"])  # a forward is about a third of a step
    return training_seconds(state, replace(phase, precision=chosen)) * (1 + share)


def training_seconds(state: TrainState, phase: Phase) -> float:
    """About how long the steps of an epoch of the phase take here: two steps of a copy of the model tell."""
    train = state.parts["train"]
    model = deepcopy(state.model)
    batch = next(training_batches(train, phase, state.settings.seed, 1, 0, state.device))
    set_trainable(model, phase.first_stage)
    norm_mode(model, phase.norms)
    optimizer, seconds = make_optimizer(model, phase), []
    for _ in range(2):
        started = time.perf_counter()
        step(model, optimizer, batch, state.task, phase)
        seconds.append(time.perf_counter() - started)
    return min(seconds) / len(batch.ids) * len(train)


def plan_in_words(state: TrainState, phase: Phase, per_step: float, event: StepDone) -> str:
    """What trains, at which size, what an epoch costs, how many are to come, and when the whole will be done."""
    seconds = event.left if event.left is not None else per_step * (event.steps - event.step)
    epoch = per_step * state.steps_per_epoch(phase)
    fit = "are to come" if event.left is None else "fit into the time"
    judging = seconds * len(state.parts["valid"]) / 3 / len(state.parts["train"])  # a forward is about a third of a step
    end = time_of_day(seconds + (judging if event.left is None else seconds_at_the_end(state, phase)))
    return (
        f"The plan: {layers_in_words(state.model.stages(), phase.first_stage)} at {state.parts['train'].store.geometry.size} pixels; "
        f"an epoch takes about {duration(epoch)}, and {seconds / epoch:.1f} {fit}; done at about {end}."
    )


def time_of_day(seconds: float) -> str:
    """The hour and minute so many seconds from now."""
    return time.strftime("%H:%M", time.localtime(time.time() + seconds))


def layers_in_words(stages: Sequence[tuple[str, object]], first: int) -> str:
    """Which of the stages train: "all layers train", "the head trains", "the last 3 of 9 stages train"."""
    count = len(stages) - first
    if first == 0:
        return "all layers train"
    return "the head trains" if count == 1 else f"the last {count} of {len(stages)} stages train"
