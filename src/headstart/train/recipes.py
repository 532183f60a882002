"""What `fit` and `fine_tune` do, as plain sequences: each recipe runs one stretch after another and yields what happens."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from headstart.core import Batch, Changed, Cooling, EpochDone, Event, Note, Phase, Progress, RowDone, Settings, StepDone
from headstart.data.batches import training_batches
from headstart.engine import threads
from headstart.errors import BadSetting
from headstart.model import learns_statistics
from headstart.train import adapters, average, loop, norms, precision
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
from headstart.train.course import Place, Snapshot
from headstart.train.ending import ended_early
from headstart.train.pacing import ByClock, ByEpochs, Logged, Pacing, Replayed
from headstart.train.safety import GENTLER, Diverged, MemoryShort
from headstart.train.sensitivity import without_idle_stages
from headstart.train.solved import solve_again
from headstart.train.state import TrainState

SOLVED_LR, TRAINED_LR, SCRATCH_LR = 3e-4, 1e-3, 2e-3
"""Peak rates of the last stage: after a solved head (docs/log.md), after a trained one, from scratch."""
SOLVED_MIXUP = 0.4
"""A solved head has left little loss on the images as they are: mixed ones give the backbone something to learn from."""
SOLVED_HEAD_SHARE = 0.2
"""A solved head needs no large steps: its rate relative to that of the last stage."""
PIECE = 16
"""Images that go through the model at once where norms are frozen (docs/decisions/0005)."""
ADAPTED_RATE = 10.0
"""Adapters take larger steps than the weights that they move; the head learns as it does without them."""
STEPS_TO_TIME = 3
TIMES_WORTH_TIMING = 20
"""Forwards that must fit into the time left, for it to be worth timing them once more beside the steps."""
LEAST_COOLDOWN = 1e-3
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
        train_size=0,
        piece=_piece(state, "frozen"),
        first_epoch=0,
    )
    yield from run_phase(state, phase, clock)


def train_all(state: TrainState, epochs: int | None, clock: Clock) -> Iterator[Event]:
    """Step 2: every stage, later ones faster, for `epochs` complete passes or until the clock's deadline; starts gently."""
    phase = step_two(state, epochs)
    if (
        phase.norms == "adapt"
        and state.settings.head == "solve"
        and not _goes_on(state, phase)
        and _time_to_adapt(state, phase, clock)
    ):
        yield from _adapt_norms(state, phase)
    yield from run_phase(state, phase, clock)


def step_two(state: TrainState, epochs: int | None) -> Phase:
    """The phase of `train_all`."""
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
    # a phase that is prolonged leaves out the stages that it has left out so far
    prolonged = phase if state.trunk is None else replace(phase, first_stage=state.trunk.phase.first_stage)
    return prolonged if _goes_on(state, prolonged) else phase


def _time_to_adapt(state: TrainState, phase: Phase, clock: Clock) -> bool:
    """Whether two forwards of the training images fit into the time before what must follow them."""
    if phase.seconds is None:
        return True
    time_a_forward(state)
    return clock.left() > 2 * len(state.parts["train"]) * state.spent["a forward"] + seconds_at_the_end(state, phase)


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
    norms = norms_of(settings)
    return Phase(
        name=name,
        epochs=epochs or MOST_EPOCHS,
        lr=SCRATCH_LR,
        norms=norms,
        piece=_piece(state, norms),
        after_row=state.next_epoch - 1 if state.rows else -1,
        augment=settings.augment,
        train_size=_train_size(state),
        batch_size=settings.batch_size,
        label_smoothing=settings.label_smoothing,
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        ema=settings.ema,
        adapters=settings.adapters,
        mixup=settings.mixup or 0.0,
        cutmix=settings.cutmix or 0.0,
        balance=settings.balance,
        first_epoch=state.next_epoch,
        seconds=None if epochs else 0.0,
    )


def _train_size(state: TrainState) -> int:
    """The smaller size that images are trained at, 0 for none.

    Raises:
        BadSetting: when it is not smaller, or the backbone takes one size only.
    """
    small, spec, size = state.settings.train_size, state.model.backbone.spec, state.parts["train"].store.geometry.size
    if small is None:
        return 0
    if spec.fixed_size:
        raise BadSetting(
            f"the backbone {spec.name} takes images of {spec.size} pixels only, got train_size={small}. Leave train_size out."
        )
    if small >= size:
        raise BadSetting(
            f"train_size={small} is not smaller than the size of the images, {size} pixels. Try train_size={size * 5 // 7}."
        )
    return small


def norms_of(settings: Settings) -> Literal["frozen", "adapt", "train"]:
    """What norm layers do in a phase that trains more than the head."""
    return settings.norms or ("frozen" if settings.pretrained else "train")


def _piece(state: TrainState, norms: str) -> int:
    """Norms that learn see the whole batch, as long as memory allows it; where it did not, it is not tried again."""

    def whole(norms: str, batch_size: int) -> int:
        return PIECE if norms == "frozen" else batch_size

    short = [phase.piece for phase in state.phases if phase.piece < whole(phase.norms, phase.batch_size)]
    return min([whole(norms, state.settings.batch_size), *short])


def require_pairs(state: TrainState) -> None:
    """Raises `BadSetting` where a batch of one image would reach norms that look at the other images of their batch."""
    settings, count = state.settings, len(state.parts["train"])
    if norms_of(settings) == "frozen" or not learns_statistics(state.model):
        return
    if (smallest := count // -(-count // settings.batch_size)) < 2:
        what = f"batch_size={settings.batch_size} divides the {count} training images so that some batch has {smallest}"
        raise BadSetting(
            f'{what}, and with norms="{norms_of(settings)}" the norm layers learn the statistics of their batch, which one image '
            'does not have. Give a batch_size of 3 or more and at least two training images, or norms="frozen".'
        )


def run_phase(state: TrainState, phase: Phase, clock: Clock) -> Iterator[Event]:
    """Trains through the phase with the probed precision; goes on from the trunk of the last phase where that was alike."""
    trunk = state.trunk = state.trunk if _goes_on(state, phase) else None
    if trunk is not None:
        phase = _longer(state, phase, trunk)
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
        phase, precision=precision.choose(state.model, state.task, batches(phase.first_epoch, 0), phase, state.device)
    )
    yield Progress("choosing the precision", 1, 1)
    if phase.seconds is not None and trunk is None and phase.name == "all":
        phase, words = without_idle_stages(state.model, state.task, phase, batches(phase.first_epoch, 0))
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


def _until_changed(state: TrainState, clock: Clock, pacing: Pacing) -> Generator[Event, None, tuple[Phase, str] | None]:
    """Trains to the end of the course, or until its phase must be another: then returns that, and what to say."""
    course = state.course
    assert course is not None, "there is a course to go on with"
    phase, place = course.phase, course.place
    first, before, started = place.step, state.rows[-1]["epoch"] if state.rows else -1, time.perf_counter()
    fitting = Fitting(state, asked=started)
    for event in loop.run(state.model, course, _feed(state, phase), state.task, pacing):
        if isinstance(event, MemoryShort | Diverged):
            return event.mended(state)
        if isinstance(event, Cooling):
            if state.has_trunk():
                continue
            state.trunk = courses.snapshot(state.model, course)
            if phase.train_size:
                state.spent["a step"] = 0.0  # beware: steps are larger from here on, and forwards are not
        yield event
        if isinstance(event, StepDone) and (
            change := ended_early(state, event, pacing, meets_deadline(state, phase, clock, pacing.step_seconds(place)))
        ):
            return change
        if isinstance(event, StepDone) and event.step == first + STEPS_TO_TIME:
            per_step = (time.perf_counter() - started) / STEPS_TO_TIME
            if event.left is not None and event.left > TIMES_WORTH_TIMING * state.spent["a forward"] * TIMED_IMAGES:
                time_a_forward(state, pacing.step_seconds(place))
            yield Note(plan_in_words(state, phase, per_step, event))
        due = isinstance(event, EpochDone) and event.last and (place.step > first or before <= phase.after_row)
        if isinstance(event, EpochDone) and (event.epoch > before or due):
            slower = got_slower(state, pacing.step_seconds(place))  # asked before the row notes the pace of now
            row = yield from _row(state, replace(event, epoch=max(event.epoch, before + 1)), pacing.step_seconds(place), clock)
            if change := ended_early(state, row, pacing):
                return change
            if not event.last and (words := fitting.again(place, slower)):
                yield Note(words)
        elif (
            isinstance(event, EpochDone)
            and place.step == first
            and (change := ended_early(state, RowDone(state.rows[-1]), pacing))
        ):
            return change  # resumed from the checkpoint of a row, which is made before it is asked whether that row lacked a new best
    return None


def _row(state: TrainState, done: EpochDone, step_seconds: float, clock: Clock) -> Generator[Event, None, RowDone]:
    """The row of an epoch; of the last epoch with the head solved again where that is how it was made."""
    assert state.course is not None, "there is a course where an epoch is done"
    phase = state.course.phase
    with average.holding(state.model, state.course.average):
        if done.last and state.solves_again(phase):
            outputs = yield from solve_again(state, lambda: clock.left() > seconds_after_forwards(state, phase))
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


def _goes_on(state: TrainState, phase: Phase) -> bool:
    """Whether the phase prolongs the one before."""
    return state.trunk is not None and alike(state.trunk.phase, phase)


def alike(one: Phase, other: Phase) -> bool:
    """Whether a place in one phase is a place in the other: the same layers learn, from the same batches."""
    same = ("name", "first_stage", "norms", "batch_size", "balance", "adapters")
    return all(getattr(one, name) == getattr(other, name) for name in same)


def _longer(state: TrainState, phase: Phase, trunk: Snapshot) -> Phase:
    """The phase of the trunk with what is asked for now, made longer by the new epochs or, later, by the new seconds."""
    earlier = state.rows[-1]["epoch"] - trunk.phase.first_epoch + 1
    epochs = phase.epochs if phase.seconds is not None else phase.epochs + earlier
    setbacks, piece = trunk.phase.setbacks, min(phase.piece, trunk.phase.piece)
    gentler = phase.lr * GENTLER**setbacks
    return replace(phase, epochs=epochs, first_epoch=trunk.phase.first_epoch, lr=gentler, setbacks=setbacks, piece=piece)


def epochs_again(state: TrainState, trunk: Snapshot) -> float:
    """How many epochs that have rows are trained once more where training goes on from the trunk."""
    return state.rows[-1]["epoch"] - trunk.phase.first_epoch + 1 - trunk.place.step / state.steps_per_epoch(trunk.phase)


def _taken_up_in_words(state: TrainState, trunk: Snapshot, last: int | None) -> str:
    repeated = epochs_again(state, trunk)
    until = "" if last is None else f" to epoch {last}"
    return (
        f"Going on{until} from where the learning rate began to fall: {repeated:.1f} epochs are trained again at the full rate "
        "without rows, and their time counts in the next row."
    )
