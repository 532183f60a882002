"""What `fit` and `fine_tune` do, as plain sequences: each recipe runs one stretch after another and yields what happens."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from headstart.core import Batch, Cooling, EpochDone, Event, Note, Phase, RowDone, StepDone
from headstart.data.batches import training_batches
from headstart.train import adapters, average, loop, norms, precision
from headstart.train import course as courses
from headstart.train.budget import Clock, cost_in_words, seconds_at_the_end, time_a_forward
from headstart.train.course import Place, Snapshot
from headstart.train.pacing import ByClock, ByEpochs, Logged, Pacing, Replayed
from headstart.train.solved import solve_again
from headstart.train.state import TrainState

SOLVED_LR, TRAINED_LR, SCRATCH_LR = 3e-4, 1e-3, 2e-3
"""Peak rates of the last stage: after a solved head (docs/log.md), after a trained one, from scratch."""
SOLVED_MIXUP = 0.4
"""A solved head has left little loss on the images as they are: mixed ones give the backbone something to learn from."""
SOLVED_HEAD_SHARE = 0.2
"""A solved head needs no large steps: its rate relative to that of the last stage."""
ADAPTED_RATE = 10.0
"""Adapters take larger steps than the weights that they move; the head learns as it does without them."""
STEPS_TO_TIME = 3
MOST_EPOCHS = 1_000_000
"""Of a phase that the clock ends."""


def train_head(state: TrainState, clock: Clock) -> Iterator[Event]:
    """Step 1, as the textbook has it: a random head trained by gradient steps on a frozen body, `freeze_epochs` rows."""
    settings = state.settings
    phase = replace(
        base_phase(state, "head", settings.freeze_epochs),
        lr=settings.base_lr or SCRATCH_LR,
        first_stage=len(state.model.stages()) - 1,
        norms="frozen",
        first_epoch=0,
    )
    yield from run_phase(state, phase, clock)


def train_all(state: TrainState, epochs: int | None, clock: Clock) -> Iterator[Event]:
    """Step 2: every stage, later ones faster, for `epochs` complete passes or until the clock's deadline; starts gently."""
    settings = state.settings
    solved = settings.head == "solve"
    stages = len(state.model.stages())
    phase = replace(
        base_phase(state, "all", epochs),
        lr=settings.base_lr or (SOLVED_LR if solved else TRAINED_LR) * (ADAPTED_RATE if settings.adapters else 1.0),
        layer_decay=settings.lr_mult ** (-1 / max(1, stages - 2)),
        head_lr_scale=(SOLVED_HEAD_SHARE if solved else 1.0) / (ADAPTED_RATE if settings.adapters else 1.0),
        mixup=settings.mixup if settings.mixup is not None else SOLVED_MIXUP if solved else 0.0,
        first_stage=state.first_stage,
    )
    if solved and phase.norms == "adapt" and not _goes_on(state, phase):
        yield from _adapt_norms(state, phase)
    yield from run_phase(state, phase, clock)


def _adapt_norms(state: TrainState, phase: Phase) -> Iterator[Event]:
    """Moves the norms to the training images, and the solved head, which was made for what the old statistics gave, after them."""
    adapted = yield from norms.adapt(state, phase.first_stage)
    if adapted:
        outputs, before = (yield from solve_again(state)), state.rows[-1]["valid_loss"]
        now = float(state.task.loss(outputs.mean, state.parts["valid"].targets).mean())
        verdict = "" if now <= before else ' These images are served better by the stored statistics: norms="frozen".'
        yield Note(f"With them valid_loss is {now:.3f}; it was {before:.3f} in the last row.{verdict}")


def fit(state: TrainState, epochs: int | None, clock: Clock) -> Iterator[Event]:
    """Trains what is trainable from where the weights are, all stages at one rate."""
    settings = state.settings
    lr = settings.base_lr or (TRAINED_LR if settings.pretrained else SCRATCH_LR)
    yield from run_phase(state, replace(base_phase(state, "fit", epochs), lr=lr, first_stage=state.first_stage), clock)


def base_phase(state: TrainState, name: str, epochs: int | None) -> Phase:
    """A phase with everything that the settings say about every stretch of training; without `epochs` the clock ends it."""
    settings = state.settings
    return Phase(
        name=name,
        epochs=epochs or MOST_EPOCHS,
        lr=SCRATCH_LR,
        norms=settings.norms or ("frozen" if settings.pretrained else "train"),
        augment=settings.augment,
        batch_size=settings.batch_size,
        label_smoothing=settings.label_smoothing,
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        ema=settings.ema,
        adapters=settings.adapters,
        mixup=settings.mixup or 0.0,
        first_epoch=state.next_epoch,
        seconds=None if epochs else 0.0,
    )


def run_phase(state: TrainState, phase: Phase, clock: Clock) -> Iterator[Event]:
    """Trains through the phase with the probed precision; goes on from the trunk of the last phase where that was alike."""
    trunk = state.trunk = state.trunk if _goes_on(state, phase) else None
    if trunk is not None:
        phase = _longer(state, phase, trunk)
        again = phase.first_epoch + phase.epochs - 1 if phase.seconds is None else None
        yield Note(_taken_up_in_words(state, trunk, again))
    batches = _feed(state, phase)
    phase = replace(
        phase, precision=precision.choose(state.model, state.task, batches(phase.first_epoch, 0), phase, state.device)
    )
    if phase.seconds is not None:
        time_a_forward(state)
        left = max(0.0, clock.left() - seconds_at_the_end(state, phase))
        phase = replace(phase, seconds=left + (trunk.place.seconds if trunk else 0.0))
        if left == 0:
            yield Note("There is no time left to train further layers: what there is so far is kept.")
    state.phases = [*(old for old in state.phases if trunk is None or old != trunk.phase), phase]
    start, seed = courses.start, state.settings.seed
    state.course = start(state.model, phase, seed) if trunk is None else courses.taken_up(state.model, trunk, phase)
    if state.course.adapters:
        yield Note(adapters.in_words(state.model, state.course.adapters))
    yield from go_on(state, clock, ())


def go_on(state: TrainState, clock: Clock, logged: Sequence[Logged]) -> Iterator[Event]:
    """Trains the course of `state` to its end and yields a row per epoch that the table does not have yet.

    Args:
        logged: the steps that come first, which an interrupted run by the clock has made already.
    """
    assert state.course is not None, "go_on continues a course"
    course = state.course
    phase, place = course.phase, course.place
    first, before, started = place.step, state.rows[-1]["epoch"] if state.rows else -1, time.perf_counter()
    pacing = _pacing(state, phase, place, logged)
    for event in loop.run(state.model, course, _feed(state, phase), state.task, pacing):
        if isinstance(event, Cooling):
            state.trunk = courses.snapshot(state.model, course)
        yield event
        if isinstance(event, StepDone) and event.step == first + STEPS_TO_TIME:
            per_step = (time.perf_counter() - started) / STEPS_TO_TIME
            yield Note(cost_in_words(per_step, state.steps_per_epoch(phase), event))
        if isinstance(event, EpochDone) and (event.epoch > before or (event.last and place.step > first)):
            planned = seconds_at_the_end(state, phase) if phase.seconds is not None else 0.0
            yield from _row(state, replace(event, epoch=max(event.epoch, before + 1)), clock)
            if phase.seconds is not None:
                pacing.shorten(seconds_at_the_end(state, phase) - planned)


def _row(state: TrainState, done: EpochDone, clock: Clock) -> Iterator[Event]:
    """The row of an epoch; of the last epoch with the head solved again where that is how it was made."""
    assert state.course is not None, "there is a course where an epoch is done"
    with average.holding(state.model, state.course.average):
        if done.last and state.solves_again(state.course.phase):
            outputs = yield from solve_again(state)
        else:
            started = time.perf_counter()
            outputs = state.outputs("valid")
            state.spent["a forward"] = (time.perf_counter() - started) / len(state.parts["valid"])
        row = state.add_row(done.epoch, state.course.phase.name, done.train_loss, outputs, done.lr, clock.seconds())
    yield RowDone(row)


def _pacing(state: TrainState, phase: Phase, place: Place, logged: Sequence[Logged]) -> Pacing:
    if phase.seconds is None:
        return ByEpochs(phase, state.steps_per_epoch(phase))
    row_seconds = state.spent.get("a forward", 0.0) * len(state.parts["valid"]) + state.spent.get("saving", 1.0)
    if logged:
        return Replayed(logged, place.step, lambda place: ByClock(phase, place, row_seconds))
    return ByClock(phase, place, row_seconds)


def _feed(state: TrainState, phase: Phase) -> loop.Feed:
    def batches(epoch: int, first: int) -> Iterator[Batch]:
        return training_batches(state.parts["train"], phase, state.settings.seed, epoch, first, state.device)

    return batches


def _goes_on(state: TrainState, phase: Phase) -> bool:
    """Whether the phase prolongs the one before."""
    return state.trunk is not None and _alike(state.trunk.phase, phase)


def _alike(one: Phase, other: Phase) -> bool:
    """Whether a place in one phase is a place in the other: the same layers learn, from the same batches."""
    return all(getattr(one, name) == getattr(other, name) for name in ("name", "first_stage", "norms", "batch_size", "adapters"))


def _longer(state: TrainState, phase: Phase, trunk: Snapshot) -> Phase:
    """The phase of the trunk with what is asked for now, made longer by the new epochs or, later, by the new seconds."""
    earlier = state.rows[-1]["epoch"] - trunk.phase.first_epoch + 1
    epochs = phase.epochs if phase.seconds is not None else phase.epochs + earlier
    return replace(phase, epochs=epochs, first_epoch=trunk.phase.first_epoch)


def _taken_up_in_words(state: TrainState, trunk: Snapshot, last: int | None) -> str:
    done = trunk.place.step / state.steps_per_epoch(trunk.phase)
    repeated = state.rows[-1]["epoch"] - trunk.phase.first_epoch + 1 - done
    until = "" if last is None else f" to epoch {last}"
    return (
        f"Going on{until} from where the learning rate began to fall: {repeated:.1f} epochs are trained again at the full rate "
        "without rows, and their time counts in the next row."
    )
