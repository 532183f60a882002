"""What a training costs and what time it has: the clock of a verb, the reserve at its end, the price of an epoch."""

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from headstart.core import Phase, StepDone
from headstart.data.batches import stored, training_batches
from headstart.engine import threads
from headstart.evaluate import predict
from headstart.train import course as courses
from headstart.train import precision
from headstart.train.loop import seen
from headstart.train.observers.rows import duration
from headstart.train.state import TrainState
from headstart.train.step import step

STEPS_WORTH_MAKING = 3
PROBING_STEPS = 8
"""Which the probes of precision and of stages take, and the optimizer to be made."""
SOLVED_AGAIN_SHARE = 0.3
"""Of a phase by the clock, that the forwards for solving the head again may take."""
FEW_BELIEVED = 500
"""Training images that suffice for a posterior, where there is no time for all."""
TIMED_IMAGES = 32
"""How many images a timed forward predicts."""
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
    work, images = a_forward(state)
    state.forward_took(threads.timed(work).seconds / images, step_seconds)


def a_forward(state: TrainState) -> tuple[Callable[[], object], int]:
    """Predicts the first validation images; how many they are."""
    batch = next(stored(state.parts["valid"], TIMED_IMAGES))
    return lambda: predict.outputs(state.model, [batch], state.parts["valid"].store.modality), len(batch)


def seconds_at_the_end(state: TrainState, phase: Phase, step_seconds: float = 0.0) -> float:
    """What evaluation, the head and saving will take after the last step, while a step takes so long (0: as when last timed).

    A machine that gets busy slows steps and forwards alike, and steps are timed all the time. The forwards for the head take at
    most their share of a phase by the clock: it can be solved on fewer images, and steps are worth more.
    """
    spent = state.spent
    busier = step_seconds / spent["a step"] if step_seconds and spent.get("a step") else 1.0
    forward = busier * spent["a forward"]
    again = forward * len(state.parts["train"]) if state.solves_again(phase) else 0.0
    most = float("inf") if phase.seconds is None else SOLVED_AGAIN_SHARE * phase.seconds
    return forward * len(state.parts["valid"]) + min(again, most) + seconds_after_forwards(state, phase)


def seconds_after_forwards(state: TrainState, phase: Phase) -> float:
    """What is left to do at the end when everything is evaluated: solve the head, fit its posterior, save the model twice, leave."""
    solving = state.spent.get("solving", 0.0) if state.solves_again(phase) else 0.0
    known = CLOSING_SECONDS + 2 * state.spent.get("saving", 1.0) + solving + state.spent.get("changes", 0.0)
    return known + seconds_for_posterior(state)


def seconds_for_posterior(state: TrainState) -> float:
    """What the posterior of the kept row will take: to fit it, and the features of some images where the last row is not kept."""
    if state.settings.posterior == "none" or state.model.head.final is None:
        return 0.0
    images = min(len(state.parts["train"]), FEW_BELIEVED) if state.settings.keep == "best" else 0
    return state.spent.get("posterior", 0.0) + state.spent.get("a forward", 0.0) * images


def meets_deadline(state: TrainState, phase: Phase, clock: Clock, step_seconds: float) -> bool:
    """Whether a phase of so many epochs must fall now to end by the clock's deadline: a few steps, a row and saving are still to come.

    A phase by the clock ends in time by itself. No image takes longer to be predicted than to be trained on.
    """
    if phase.seconds is not None:
        return False
    steps = STEPS_WORTH_MAKING + len(state.parts["valid"]) / phase.batch_size
    return clock.left() < steps * step_seconds + seconds_after_forwards(state, phase)


def too_short(state: TrainState, phase: Phase, clock: Clock, to_come: int = 0) -> str | None:
    """What to say when the time left is not worth a phase by the clock: the least that there must be. None where it is.

    `to_come` tells how many steps' time will be spent before the first one that counts.
    """
    assert clock.allowed is not None, "only a clock with a deadline can be too short"
    least = seconds_at_the_end(state, replace(phase, seconds=0.0))
    steps = STEPS_WORTH_MAKING + to_come
    least += steps * 3 * state.spent["a forward"] * phase.batch_size  # a step is about three forwards
    if clock.left() >= least:
        return None
    gone = clock.allowed - clock.left()
    return (
        f"There is no time left to train further layers: what there is so far is kept. {clock.allowed / 60:g} minutes were asked for, "
        f"of which {duration(gone)} are gone; the least with which more than the head is trained here "
        f"is about {math.ceil((gone + least) / 6) / 10:.1f} minutes."
    )


def epoch_seconds(state: TrainState, phase: Phase) -> float:
    """About how long an epoch of the phase takes here with the validation after it."""
    batches = training_batches(state.parts["train"], phase, state.settings.seed, 1, 0, state.device)
    chosen = precision.choose(deepcopy(state.model), state.objective, batches, phase, state.device)
    share = len(state.parts["valid"]) / 3 / len(state.parts["train"])  # a forward is about a third of a step
    return training_seconds(state, replace(phase, precision=chosen)) * (1 + share)


def training_seconds(state: TrainState, phase: Phase) -> float:
    """About how long the steps of an epoch of the phase take here: two steps of a copy of the model tell, of each size of images."""
    train = state.parts["train"]
    model = deepcopy(state.model)
    batch = next(training_batches(train, phase, state.settings.seed, 1, 0, state.device))
    course, per_batch = courses.start(model, phase), 0.0
    for progress, share in ((0.0, 1.0 - phase.cooldown), (1.0, phase.cooldown)) if phase.train_size else ((1.0, 1.0),):
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            step(model, course.optimizer, seen(batch, phase, progress), state.objective, phase, course.adapters)
            seconds.append(time.perf_counter() - started)
        per_batch += share * min(seconds)
    return per_batch / len(batch.ids) * len(train)


def plan_in_words(state: TrainState, phase: Phase, per_step: float, event: StepDone) -> str:
    """What trains, at which size, what an epoch costs, how many are to come, and when the whole will be done."""
    seconds = event.left if event.left is not None else per_step * (event.steps - event.step)
    epoch = per_step * state.steps_per_epoch(phase)
    fit = "are to come" if event.left is None else "fit into the time"
    judging = seconds * len(state.parts["valid"]) / 3 / len(state.parts["train"])  # a forward is about a third of a step
    end = time_of_day(seconds + (judging if event.left is None else seconds_at_the_end(state, phase)))
    return (
        f"The plan: {layers_in_words(state.model.stages(), phase.first_stage)} at {state.parts['train'].store.modality.words.size}; "
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
