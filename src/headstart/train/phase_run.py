"""How a phase of training is run: probed, trained to its end or until it must be another, with a row per epoch."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from headstart.core import Batch, Changed, Cooling, EpochDone, Event, Note, Phase, Progress, RowDone, StepDone
from headstart.data.batches import training_batches
from headstart.engine import threads
from headstart.train import adapters, average, loop, phases, precision
from headstart.train import course as courses
from headstart.train.beside import Fitting, fit_threads, got_slower
from headstart.train.budget import (
    PROBING_STEPS,
    TIMED_IMAGES,
    Clock,
    meets_deadline,
    plan_in_words,
    seconds_after_forwards,
    seconds_at_the_end,
    time_a_forward,
    too_short,
)
from headstart.train.course import Course, Place, Snapshot
from headstart.train.ending import ended_early
from headstart.train.pacing import ByClock, ByEpochs, Logged, Pacing, Replayed
from headstart.train.safety import Diverged, MemoryShort
from headstart.train.sensitivity import without_idle_stages
from headstart.train.solved import solve_again
from headstart.train.state import TrainState

STEPS_TO_TIME = 3
TIMES_WORTH_TIMING = 20
"""Forwards that must fit into the time left, for it to be worth timing them once more beside the steps."""
LEAST_COOLDOWN = 1e-3
Another = tuple[Phase, str]
"""The phase that a course goes on with from here, and what to say of it."""


def run_phase(state: TrainState, phase: Phase, clock: Clock) -> Iterator[Event]:
    """Trains through the phase with the probed precision; goes on from the trunk of the last phase where that was alike."""
    trunk = state.trunk = state.trunk if phases.goes_on(state, phase) else None
    if trunk is not None:
        phase = phases.longer(state, phase, trunk)
        again = phase.first_epoch + phase.epochs - 1 if phase.seconds is None else None
        yield Note(_taken_up_in_words(state, trunk, again))
    count = 0
    if phase.seconds is not None:  # before anything is probed, which takes time too
        count, words = fit_threads(state)
        yield from () if words is None else (Note(words),)
        if (sentence := too_short(state, phase, clock, 0 if trunk else PROBING_STEPS)) is not None:
            yield Note(sentence)
            return
    batches = _feed(state, phase)
    yield Progress("choosing the precision", 0, 1)
    phase = replace(
        phase, precision=precision.choose(state.model, state.objective, batches(phase.first_epoch, 0), phase, state.device)
    )
    yield Progress("choosing the precision", 1, 1)
    if phase.seconds is not None and trunk is None and phase.name == "all":
        phase, words = without_idle_stages(state.model, state.objective, phase, batches(phase.first_epoch, 0))
        yield from () if words is None else (Note(words),)
        if (sentence := too_short(state, phase, clock)) is not None:
            yield Note(sentence)
            return
    start, seed = courses.start, state.settings.seed
    state.course = start(state.model, phase, seed) if trunk is None else courses.taken_up(state.model, trunk, phase)
    state.course.place.threads = count
    if phase.seconds is not None:  # only now: the first optimizer of a process takes a second to be made
        phase = state.course.phase = _timed(phase, state.course.place.seconds, clock.left())
    state.phases = [*(old for old in state.phases if trunk is None or old != trunk.phase), phase]
    if state.course.adapters:
        yield Note(adapters.in_words(state.model, state.course.adapters))
    yield from go_on(state, clock, ())


def _timed(phase: Phase, done: float, left: float) -> Phase:
    """The phase with so many seconds left after those that are done; the rate falls in its share of what is left, so that a trunk
    that is prolonged by little moves on too."""
    whole = done + max(left, 0.0)
    cooldown = phase.cooldown if done == 0 or whole <= 0 else max(phase.cooldown * max(left, 0.0) / whole, LEAST_COOLDOWN)
    return replace(phase, seconds=done + left, cooldown=cooldown)


def go_on(state: TrainState, clock: Clock, logged: Sequence[Logged]) -> Iterator[Event]:
    """Trains the course of `state` to its end and yields a row per epoch that the table does not have yet.

    Args:
        logged: the steps that come first, which an interrupted run by the clock has made already.
    """
    assert state.course is not None, "go_on continues a course"
    threads.use(state.course.place.threads)  # a resumed run has those that it was stopped with, and so the same bits
    pacing = _pacing(state, state.course.phase, state.course.place, logged)
    while change := (yield from _until_changed(state, clock, pacing)):
        phase, words = change
        state.becomes(phase)
        yield Changed()
        yield Note(words)


def _until_changed(state: TrainState, clock: Clock, pacing: Pacing) -> Generator[Event, None, Another | None]:
    """Trains to the end of the course, or until its phase must be another: then returns that, and what to say."""
    course = state.course
    assert course is not None, "there is a course to go on with"
    phase, place = course.phase, course.place
    first, started = place.step, time.perf_counter()
    fitting = Fitting(state, asked=started)
    for event in loop.run(state.model, course, _feed(state, phase), state.objective, pacing):
        if isinstance(event, MemoryShort | Diverged):
            return event.mended(state)
        if isinstance(event, Cooling):
            if state.has_trunk():
                continue
            _keep_trunk(state, course)
        yield event
        change = None
        if isinstance(event, StepDone):
            change = ended_early(state, event, pacing, meets_deadline(state, phase, clock, pacing.step_seconds(place)))
            if change is None and event.step == first + STEPS_TO_TIME:
                yield Note(_plan(state, event, (time.perf_counter() - started) / STEPS_TO_TIME, pacing))
        elif isinstance(event, EpochDone):
            change = yield from _after_epoch(state, event, clock, pacing, fitting, moved=place.step > first)
        if change:
            return change
    return None


def _keep_trunk(state: TrainState, course: Course) -> None:
    """What `more` goes on from, as the learning rate begins to fall."""
    state.trunk = courses.snapshot(state.model, course)
    if course.phase.train_size:
        state.spent["a step"] = 0.0  # beware: steps are larger from here on, and forwards are not


def _plan(state: TrainState, event: StepDone, per_step: float, pacing: Pacing) -> str:
    """The plan in words once the first steps have been timed, and, where there is time for it, a forward beside them."""
    assert state.course is not None, "a step is one of a course"
    phase, place = state.course.phase, state.course.place
    if event.left is not None and event.left > TIMES_WORTH_TIMING * state.spent["a forward"] * TIMED_IMAGES:
        time_a_forward(state, pacing.step_seconds(place))
    return plan_in_words(state, phase, per_step, event)


def _after_epoch(
    state: TrainState, done: EpochDone, clock: Clock, pacing: Pacing, fitting: Fitting, moved: bool
) -> Generator[Event, None, Another | None]:
    """The row of an epoch, where the table does not have it yet, and whether the phase must be another after it.

    `moved` tells whether a step has been made since the course was begun or taken up.
    """
    assert state.course is not None, "an epoch is one of a course"
    phase, place, before = state.course.phase, state.course.place, state.rows[-1]["epoch"] if state.rows else -1
    if done.epoch > before or (done.last and (moved or before <= phase.after_row)):
        slower = got_slower(state, pacing.step_seconds(place))  # asked before the row notes the pace of now
        row = yield from _row(state, replace(done, epoch=max(done.epoch, before + 1)), pacing.step_seconds(place), clock)
        if change := ended_early(state, row, pacing):
            return change
        if not done.last and (words := fitting.again(place, slower)):
            yield Note(words)
        return None
    # resumed from the checkpoint of a row, which is made before it is asked whether that row lacked a new best
    return None if moved else ended_early(state, RowDone(state.rows[-1]), pacing)


def _row(state: TrainState, done: EpochDone, step_seconds: float, clock: Clock) -> Generator[Event, None, RowDone]:
    """The row of an epoch; of the last epoch with the head solved again where that is how it was made."""
    assert state.course is not None, "there is a course where an epoch is done"
    phase = state.course.phase
    with average.holding(state.model, state.course.average):
        if done.last and state.solves_again(phase):
            outputs = yield from solve_again(state, lambda: clock.left() > seconds_after_forwards(state, phase), done.epoch)
        else:
            started = time.perf_counter()
            outputs = state.outputs("valid")
            state.forward_took((time.perf_counter() - started) / len(state.parts["valid"]), step_seconds)
        row = RowDone(state.add_row(done.epoch, phase.name, done.train_loss, outputs, done.lr, clock.seconds()))
    yield row
    return row


def _pacing(state: TrainState, phase: Phase, place: Place, logged: Sequence[Logged]) -> Pacing:
    if phase.seconds is None:
        return ByEpochs(phase, state.steps_per_epoch(phase))
    row_seconds = state.spent.get("a forward", 0.0) * len(state.parts["valid"]) + state.spent.get("saving", 1.0)

    def by_clock(place: Place) -> ByClock:
        return ByClock(phase, place, row_seconds, lambda step_seconds: seconds_at_the_end(state, phase, step_seconds))

    return Replayed(logged, place.step, by_clock) if logged else by_clock(place)


def _feed(state: TrainState, phase: Phase) -> loop.Feed:
    def batches(epoch: int, first: int) -> Iterator[Batch]:
        return training_batches(state.parts["train"], phase, state.settings.seed, epoch, first, state.device)

    return batches


def _taken_up_in_words(state: TrainState, trunk: Snapshot, last: int | None) -> str:
    repeated = phases.epochs_again(state, trunk)
    until = "" if last is None else f" to epoch {last}"
    return (
        f"Going on{until} from where the learning rate began to fall: {repeated:.1f} epochs are trained again at the full rate "
        "without rows, and their time counts in the next row."
    )
