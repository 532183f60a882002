"""What `fit` and `fine_tune` do, as plain sequences: each recipe runs one stretch after another and yields what happens."""

import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from headstart.backbones._wrapped import as_eval
from headstart.core import Batch, Cooling, EpochDone, Event, Note, Outputs, Phase, Progress, RowDone, StepDone
from headstart.data.batches import centres, training_batches
from headstart.evaluate import predict
from headstart.modalities import image
from headstart.model import norm_mode, set_trainable
from headstart.train import course as courses
from headstart.train import loop, precision
from headstart.train.course import Place, Snapshot
from headstart.train.features import Features
from headstart.train.observers.rows import duration
from headstart.train.optim import make_optimizer
from headstart.train.pacing import ByClock, ByEpochs, Logged, Pacing, Replayed
from headstart.train.state import TrainState
from headstart.train.step import step

SOLVED_LR, TRAINED_LR, SCRATCH_LR = 3e-4, 1e-3, 2e-3
"""Peak rates of the last stage: after a solved head (docs/log.md), after a trained one, from scratch."""
SOLVED_MIXUP = 0.4
"""A solved head has left little loss on the images as they are: mixed ones give the backbone something to learn from."""
SOLVED_HEAD_SHARE = 0.2
"""A solved head needs no large steps: its rate relative to that of the last stage."""
STEPS_TO_TIME = 3
LOGITS_AGREE = 0.05
"""Largest difference in an output, in nats, that another engine than torch may cause."""
CHECKED = 8
MOST_EPOCHS = 1_000_000
"""Of a phase that the clock ends."""
FORWARDS_VARY = 1.1
"""How much longer than last time the forwards after the last step may take."""
CLOSING_SECONDS = 1.0
"""For the curve, the card and leaving, beside what is measured."""
Recompute = Callable[[], Generator[Event, None, Features]]


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


def solve_head(state: TrainState, features: Features, recompute: Recompute, clock: Clock) -> Iterator[Event]:
    """Step 1, solved: the head at the mode of its posterior on cached features; yields row 0.

    Should the engine that computed the features lead to other outputs than torch does, they are computed again by torch.
    """
    solved = _solve(state, features)
    difference = _disagreement(state, features)
    if difference > LOGITS_AGREE:
        yield Note(
            f"{features.engine} differs from torch by {difference:.2g} in the head's outputs: computing the features again by torch."
        )
        features = yield from recompute()
        solved = _solve(state, features)
    outputs = _from_features(state, features, "valid")
    row = state.add_row(0, "head", solved.train_loss, outputs, None, clock.seconds())
    yield Note(
        f"The head is solved to convergence: prior precision {solved.precision:.3g} by the evidence, "
        f"{solved.effective_parameters:.0f} of {solved.weight.size:,} numbers determined by the data."
    )
    yield RowDone(row)


def _solve(state: TrainState, features: Features) -> Any:
    """The `SolvedHead` on the cached features, which is also put into the model."""
    train = state.parts["train"]
    started = time.perf_counter()
    solved = _solved(state, features.rows[train.indices])
    _put_head(state, solved.weight, solved.bias)
    state.spent["solving"] = time.perf_counter() - started
    return solved


def _solved(state: TrainState, rows: Float[np.ndarray, "batch features"]) -> Any:
    from headstart.train import head_solve  # scipy takes half a second to import, and only this needs it

    return head_solve.SOLVERS[state.task.solver](rows, state.parts["train"].targets.numpy(), state.task.outputs)


def _put_head(state: TrainState, weight: Any, bias: Any) -> None:
    linear = state.model.head
    assert isinstance(linear, nn.Linear), "only a linear head can be solved; the learner refuses the others"
    with torch.no_grad():
        linear.weight.copy_(torch.as_tensor(weight))
        linear.bias.copy_(torch.as_tensor(bias))


def _resolved(state: TrainState, trained: Outputs) -> Generator[Event, None, Outputs]:
    """The validation outputs of the better of two heads on the final features: the trained one, and one solved on them.

    The features of images that were trained on are better than those of others, which makes a head solved on them too sure
    where training went far; where it did not, solving is free quality. The validation part tells (docs/log.md).
    """
    train, valid = state.parts["train"], state.parts["valid"]
    rows = []
    with torch.inference_mode(), as_eval(state.model):
        for pixels in centres(train):
            rows.append(
                state.model.features(image.to_input(torch.from_numpy(pixels).to(state.device), train.store.geometry))
                .float()
                .cpu()
            )
            yield Progress("features for the head", sum(map(len, rows)), len(train))
    head = state.model.head
    assert isinstance(head, nn.Linear), "only a linear head can be solved; the learner refuses the others"
    before = head.weight.detach().clone(), head.bias.detach().clone()
    solved = _solved(state, torch.cat(rows).numpy())
    _put_head(state, solved.weight, solved.bias)
    outputs = state.outputs("valid")
    losses = [float(state.task.loss(each.mean, valid.targets).mean()) for each in (trained, outputs)]
    better = losses[1] < losses[0]
    if not better:
        _put_head(state, *before)
    kept = "is kept" if better else "is not kept"
    yield Note(
        f"The head solved again on the final features {kept}: valid_loss {losses[1]:.3f} against {losses[0]:.3f} as trained."
    )
    return outputs if better else trained


def _from_features(state: TrainState, features: Features, part: str, most: int | None = None) -> Outputs:
    """What the head says of the first `most` examples of a part, from their features."""
    rows = torch.from_numpy(features.rows[state.parts[part].indices[:most]])
    head = state.model.head
    with torch.inference_mode():
        return Outputs(head(rows.to(state.device)).float().cpu())


def _disagreement(state: TrainState, features: Features) -> float:
    """The largest difference in an output, on a few validation images, between these features and the model itself."""
    some = replace(
        state.parts["valid"], **{name: getattr(state.parts["valid"], name)[:CHECKED] for name in ("indices", "targets", "ids")}
    )
    model = predict.outputs(state.model, centres(some), some.store.geometry).mean
    return float((_from_features(state, features, "valid", CHECKED).mean - model).abs().max())


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
        lr=settings.base_lr or (SOLVED_LR if solved else TRAINED_LR),
        layer_decay=settings.lr_mult ** (-1 / max(1, stages - 2)),
        head_lr_scale=SOLVED_HEAD_SHARE if solved else 1.0,
        mixup=settings.mixup if settings.mixup is not None else SOLVED_MIXUP if solved else 0.0,
        first_stage=state.first_stage,
    )
    yield from run_phase(state, phase, clock)


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
        mixup=settings.mixup or 0.0,
        first_epoch=state.next_epoch,
        seconds=None if epochs else 0.0,
    )


def run_phase(state: TrainState, phase: Phase, clock: Clock) -> Iterator[Event]:
    """Trains through the phase with the probed precision; goes on from the trunk of the last phase where that was alike."""
    trunk = state.trunk = state.trunk if state.trunk is not None and _alike(state.trunk.phase, phase) else None
    if trunk is not None:
        phase = _longer(state, phase, trunk)
        again = phase.first_epoch + phase.epochs - 1 if phase.seconds is None else None
        yield Note(_taken_up_in_words(state, trunk, again))
    batches = _feed(state, phase)
    phase = replace(
        phase, precision=precision.choose(state.model, state.task, batches(phase.first_epoch, 0), phase, state.device)
    )
    if phase.seconds is not None:
        _time_a_forward(state)
        reserve = _seconds_at_the_end(state, phase)
        phase = replace(phase, seconds=max(0.0, clock.left() - reserve) + (trunk.place.seconds if trunk else 0.0))
    state.phases = [*(old for old in state.phases if trunk is None or old != trunk.phase), phase]
    state.course = courses.start(state.model, phase) if trunk is None else courses.taken_up(state.model, trunk, phase)
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
    if pacing.over(place) and place.step == 0:
        yield Note("There is no time left to train further layers: what there is so far is kept.")
    for event in loop.run(state.model, course, _feed(state, phase), state.task, pacing):
        if isinstance(event, Cooling):
            state.trunk = courses.snapshot(state.model, course)
        yield event
        if isinstance(event, StepDone) and event.step == first + STEPS_TO_TIME:
            per_step = (time.perf_counter() - started) / STEPS_TO_TIME
            yield Note(cost_in_words(per_step, state.steps_per_epoch(phase), event))
        if isinstance(event, EpochDone) and (event.epoch > before or (event.last and place.step > first)):
            planned = _seconds_at_the_end(state, phase) if phase.seconds is not None else 0.0
            yield from _row(state, replace(event, epoch=max(event.epoch, before + 1)), clock)
            if phase.seconds is not None:
                pacing.shorten(_seconds_at_the_end(state, phase) - planned)


def _time_a_forward(state: TrainState) -> None:
    """Notes how long the model takes for an image when it predicts, on the first validation images."""
    pixels = next(centres(state.parts["valid"]))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        predict.outputs(state.model, [pixels], state.parts["valid"].store.geometry)
        seconds.append((time.perf_counter() - started) / len(pixels))
    state.spent["a forward"] = statistics.median(seconds)


def _seconds_at_the_end(state: TrainState, phase: Phase) -> float:
    """What evaluation, the head and saving will take after the last step, from what they took last."""
    spent = state.spent
    solves = phase.name == "all" and state.settings.head == "solve"
    images = len(state.parts["valid"]) * (2 if solves else 1) + (len(state.parts["train"]) if solves else 0)
    return (
        FORWARDS_VARY * spent["a forward"] * images + CLOSING_SECONDS + 2 * spent.get("saving", 1.0) + spent.get("solving", 0.0)
    )


def _row(state: TrainState, done: EpochDone, clock: Clock) -> Iterator[Event]:
    """The row of an epoch; of the last epoch with the head solved again where that is how it was made."""
    assert state.course is not None, "there is a course where an epoch is done"
    started = time.perf_counter()
    outputs = state.outputs("valid")
    state.spent["a forward"] = (time.perf_counter() - started) / len(state.parts["valid"])
    if done.last and state.course.phase.name == "all" and state.settings.head == "solve":
        outputs = yield from _resolved(state, outputs)
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


def _alike(one: Phase, other: Phase) -> bool:
    """Whether a place in one phase is a place in the other: the same layers learn, from the same batches."""
    return all(getattr(one, name) == getattr(other, name) for name in ("name", "first_stage", "norms", "batch_size"))


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


def epoch_seconds(state: TrainState) -> float:
    """About how long an epoch of all layers takes here: two steps of a copy of the model, and the validation after it."""
    train, settings = state.parts["train"], state.settings
    model, phase = deepcopy(state.model), base_phase(state, "all", 1)
    batch = next(training_batches(train, phase, settings.seed, 1, 0, state.device))
    chosen = precision.choose(model, state.task, iter([batch]), phase, state.device)
    set_trainable(model, 0)
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
