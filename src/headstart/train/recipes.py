"""What `fit` and `fine_tune` do, as plain sequences: each recipe runs one stretch after another and yields what happens."""

import time
from collections.abc import Callable, Generator, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from headstart.core import Batch, EpochDone, Event, Note, Outputs, Phase, RowDone, StepDone
from headstart.data.batches import centres, training_batches
from headstart.evaluate import predict
from headstart.model import norm_mode, set_trainable
from headstart.train import loop, precision
from headstart.train.features import Features
from headstart.train.observers.rows import duration
from headstart.train.optim import make_optimizer
from headstart.train.state import TrainState
from headstart.train.step import step

SOLVED_LR, TRAINED_LR, SCRATCH_LR = 3e-5, 1e-3, 2e-3
"""Peak rates of the last stage: after a solved head (docs/log.md), after a trained one, from scratch."""
SOLVED_HEAD_SHARE = 0.2
"""A solved head needs no large steps: its rate relative to that of the last stage."""
STEPS_TO_TIME = 3
LOGITS_AGREE = 0.05
"""Largest difference in an output, in nats, that another engine than torch may cause."""
CHECKED = 8
Recompute = Callable[[], Generator[Event, None, Features]]


@dataclass(frozen=True)
class Clock:
    """Seconds of work in the verb so far and in the verbs before it."""

    before: float
    started: float

    @classmethod
    def start(cls, before: float = 0.0) -> "Clock":
        """Running from now on."""
        return cls(before, time.perf_counter())

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
    """The `SolvedHead`, which is also put into the model."""
    from headstart.train import head_solve  # scipy takes half a second to import, and only this needs it

    train = state.parts["train"]
    solved = head_solve.SOLVERS[state.task.solver](features.rows[train.indices], train.targets.numpy(), state.task.outputs)
    linear = state.model.head
    assert isinstance(linear, nn.Linear), "only a linear head can be solved; the learner refuses the others"
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(solved.weight))
        linear.bias.copy_(torch.from_numpy(solved.bias))
    return solved


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
    )
    yield from run_phase(state, phase, clock, first_epoch=0)


def train_all(state: TrainState, epochs: int, clock: Clock) -> Iterator[Event]:
    """Step 2: every stage, later ones faster, for exactly `epochs` complete passes, starting gently from the head of step 1."""
    settings = state.settings
    solved = settings.head == "solve"
    stages = len(state.model.stages())
    phase = replace(
        base_phase(state, "all", epochs),
        lr=settings.base_lr or (SOLVED_LR if solved else TRAINED_LR),
        layer_decay=settings.lr_mult ** (-1 / max(1, stages - 2)),
        head_lr_scale=SOLVED_HEAD_SHARE if solved else 1.0,
        first_stage=state.first_stage,
    )
    yield from run_phase(state, phase, clock, state.next_epoch)


def fit(state: TrainState, epochs: int, clock: Clock) -> Iterator[Event]:
    """Trains what is trainable from where the weights are, all stages at one rate."""
    settings = state.settings
    lr = settings.base_lr or (TRAINED_LR if settings.pretrained else SCRATCH_LR)
    phase = replace(base_phase(state, "fit", epochs), lr=lr, first_stage=state.first_stage)
    yield from run_phase(state, phase, clock, state.next_epoch)


def base_phase(state: TrainState, name: str, epochs: int) -> Phase:
    """A phase with everything that the settings say about every stretch of training."""
    settings = state.settings
    return Phase(
        name=name,
        epochs=epochs,
        lr=SCRATCH_LR,
        norms=settings.norms or ("frozen" if settings.pretrained else "train"),
        augment=settings.augment,
        batch_size=settings.batch_size,
        label_smoothing=settings.label_smoothing,
    )


def run_phase(state: TrainState, phase: Phase, clock: Clock, first_epoch: int) -> Iterator[Event]:
    """Trains through the phase with the probed precision and evaluates after each epoch; yields the rows."""
    train = state.parts["train"]
    steps = max(1, -(-len(train) // phase.batch_size))

    def feed(epoch: int) -> Iterator[Batch]:
        return training_batches(train, phase.augment, phase.batch_size, state.settings.seed, epoch, state.device)

    phase = replace(phase, precision=precision.choose(state.model, state.task, feed(first_epoch), phase, state.device))
    state.phases.append(phase)

    started = time.perf_counter()
    for event in loop.run(state.model, phase, feed, state.task, steps, first_epoch):
        yield event
        if isinstance(event, StepDone) and event.step == STEPS_TO_TIME and steps > 2 * STEPS_TO_TIME:
            per_step = (time.perf_counter() - started) / STEPS_TO_TIME
            yield Note(cost_in_words(per_step * steps, phase.epochs))
        if isinstance(event, EpochDone):
            row = state.add_row(event.epoch, phase.name, event.train_loss, state.outputs("valid"), event.lr, clock.seconds())
            yield RowDone(row)


def epoch_seconds(state: TrainState) -> float:
    """About how long an epoch of all layers takes here: two steps of a copy of the model, and the validation after it."""
    train, settings = state.parts["train"], state.settings
    model, phase = deepcopy(state.model), base_phase(state, "all", 1)
    batch = next(training_batches(train, phase.augment, phase.batch_size, settings.seed, 1, state.device))
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


def cost_in_words(epoch_seconds: float, epochs: int) -> str:
    """What an epoch costs and when the run will end."""
    end = time.strftime("%H:%M", time.localtime(time.time() + epoch_seconds * epochs))
    return f"An epoch takes about {duration(epoch_seconds)}; {epochs} of them will be done at about {end}."
