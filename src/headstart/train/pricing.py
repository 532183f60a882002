"""What a training would cost here, without beginning it: a few images are decoded, put through the model and trained on.

Everything happens to copies of the model, and nothing is written, not even into the cache.
"""

import time
from collections.abc import Generator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from headstart.core import Dataset, Event, Modality, Phase, Row, Settings, Task
from headstart.data import stores
from headstart.data._steps import exhausted
from headstart.data.batches import Examples, training_batches
from headstart.data.split import make_split
from headstart.data.stores import Store
from headstart.engine.frozen import choose_frozen
from headstart.errors import DataError
from headstart.model import Model
from headstart.seeds import numpy_generator
from headstart.train import beside, budget, phases, precision
from headstart.train import features as cached
from headstart.train.begin import begin
from headstart.train.budget import CLOSING_SECONDS, Clock
from headstart.train.features import Features
from headstart.train.forecast import ELSEWHERE, Facts, Line, Prices
from headstart.train.sensitivity import without_idle_stages
from headstart.train.solved import HELD, solve_head, solver_of
from headstart.train.state import TrainState

SAMPLE = 64
"""How many images are looked at where none is in the cache."""
SOLVED_ROWS = 2000
"""The time to solve a head is taken on at most so many rows, and scaled."""
SAVING_SECONDS = 1.0
"""To save a model, before it has been timed."""


@dataclass(frozen=True)
class Start:
    """A copy of what step 2 would begin with, what it takes to get there, and row 0 where it is known."""

    state: TrainState
    before: tuple[Line, ...]
    row: Row | None = None


def at_the_start(
    dataset: Dataset,
    modality: Modality,
    model: Model,
    task: Task,
    settings: Settings,
    metrics: Sequence[Any],
    device: torch.device,
) -> Start:
    """Of a training that has not begun: reading the images, their features and the head, from the caches and by timing a few.

    Raises:
        DataError: when none of the images can be read.
    """
    model = deepcopy(model).to(device).to(memory_format=torch.channels_last)
    stored = stores.are_stored(dataset, modality)
    store = stores.start(dataset, modality) if stored else stores.sample(dataset, modality, SAMPLE)
    count, started = len(dataset.records), time.perf_counter()
    make = _of_cache if stored else _of_sample
    solve = settings.method == "fine_tune" and settings.head == "solve"
    features = cached.stored(cached.cache_file(store, cached.digest(model.backbone.state_dict())), count) if solve else None
    state = make(dataset, store, model, task, settings, metrics, device)
    reading = (time.perf_counter() - started) * (1 if stored else count / len(store))
    before = [Line(f"reading {count:,} {modality.words.items}", reading, "in the cache" if stored else f"timed on {len(store)}")]
    row = None
    if features is not None and stored:
        clock = Clock.start()
        list(solve_head(state, features, lambda: _as_they_are(features), clock))
        row = state.rows[0]
        before.append(Line("head", clock.seconds(), "solved just now: the features are in the cache"))
    elif solve:
        before += [*_features(state, features is not None, count), _head(state)]
    return Start(state, tuple(before), row)


def of_state(state: TrainState) -> Start:
    """Of a training that would go on: there is nothing to do before the steps."""
    return Start(replace(state, model=deepcopy(state.model), rows=list(state.rows), spent=dict(state.spent)), ())


def prices(start: Start, name: str, first_stage: int, already: float, by_clock: bool) -> tuple[Prices, Facts]:
    """What the rest of a training on the data `name` costs, and what it is; `already` seconds of its time are gone."""
    state, settings = start.state, start.state.settings
    going_on = bool(state.rows) and start.row is None
    whole = phases.step_two(state, 1)
    phase = replace(phases.base_phase(state, "fit", 1), first_stage=first_stage) if settings.method == "fit" else whole
    time_a_forward = beside.fit_threads if by_clock else budget.time_a_forward
    time_a_forward(state)
    row = state.spent["a forward"] * len(state.parts["valid"]) + state.spent.get("saving", SAVING_SECONDS)
    before = [Line("until now", already, "starting, finding the images")] if already else []
    before += start.before
    heads = settings.freeze_epochs if settings.method == "fine_tune" and settings.head == "train" and not going_on else 0
    if heads:
        last = replace(phase, name="head", first_stage=len(state.model.stages()) - 1, norms="frozen")
        before.append(Line(f"{heads} epochs of the head", heads * (budget.training_seconds(state, last) + row)))
    elif settings.method == "fine_tune" and not going_on:
        before.append(Line("row 0", state.spent.get("saving", SAVING_SECONDS), "saving it"))
    chosen, probing = _precision(state, phase)
    phase = replace(phase, precision=chosen)
    trunk = state.trunk if state.trunk is not None and phases.alike(state.trunk.phase, phase) else None
    if by_clock and trunk is None and phase.name == "all":
        phase, _ = without_idle_stages(
            state.model, state.objective, phase, training_batches(state.parts["train"], phase, settings.seed, 1, 0, state.device)
        )
    found = Prices(
        before=tuple(before),
        probing=probing,
        epoch=budget.training_seconds(state, phase),
        row=row,
        end=budget.seconds_at_the_end(state, phase),
        head_alone_end=CLOSING_SECONDS + state.spent.get("saving", SAVING_SECONDS),
        again=phases.epochs_again(state, trunk) if trunk is not None else 0.0,
    )
    return found, _facts(start, name, phase, going_on, max(1, heads))


def _facts(start: Start, name: str, phase: Phase, going_on: bool, heads: int) -> Facts:
    state = start.state
    first = state.rows[-1]["epoch"] + 1 if going_on else heads if phase.name == "all" else 1
    return Facts(
        data=name,
        backbone=state.model.backbone.spec.name,
        size=state.parts["train"].store.modality.words.size,
        images=len(state.parts["train"]),
        items=state.parts["train"].store.modality.words.items,
        layers=budget.layers_in_words(state.model.stages(), phase.first_stage),
        next_row=0 if phase.name == "all" and not going_on else first,
        first_epoch=first,
        row_0=start.row,
        notes=(ELSEWHERE,) if state.solves_again(phase) else (),
    )


def _of_cache(
    dataset: Dataset,
    store: Store,
    model: Model,
    task: Task,
    settings: Settings,
    metrics: Sequence[Any],
    device: torch.device,
) -> TrainState:
    return exhausted(begin(dataset, store, model, task, settings, metrics, device, with_features=False)).state


def _of_sample(
    dataset: Dataset,
    store: Store,
    model: Model,
    task: Task,
    settings: Settings,
    metrics: Sequence[Any],
    device: torch.device,
) -> TrainState:
    """Parts of the right size, in which the few images that were read stand for all."""
    good = [index for index in range(len(store)) if store.wait(index)]
    if not good:
        raise DataError(
            f"none of {len(store)} {store.modality.words.items} of {dataset.name} that were tried can be read: look at headstart check."
        )
    split = make_split(dataset, [record.id for record in dataset.records], {}, task)
    targets = {record.id: record.target for record in dataset.records}
    parts = {
        part: Examples(store, np.resize(np.array(good, np.int64), len(ids)), task.encode([targets[name] for name in ids]), ids)
        for part, ids in (("train", split.train), ("valid", split.valid), ("test", split.test))
    }
    return TrainState(model, task, parts, settings, metrics, device)


def _features(state: TrainState, known: bool, count: int) -> list[Line]:
    """What the features of all images take: to choose and prepare the engine, and a forward for each."""
    if known:
        return [Line("features", 0.0, "in the cache")]
    store, device = state.parts["train"].store, state.device
    some = store.stored(state.parts["train"].indices[:SAMPLE].tolist())
    started = time.perf_counter()
    frozen = choose_frozen(state.model.backbone, store.modality, some, device, keep=False)
    chosen = time.perf_counter()
    frozen.features(some)
    each = (time.perf_counter() - chosen) / len(some)
    return [
        Line("preparing the engine", chosen - started, frozen.name),
        Line("features", each * count, f"timed on {len(some)}"),
    ]


def _head(state: TrainState) -> Line:
    """What solving the head takes, on random numbers in place of features."""
    width = state.model.backbone.spec.width
    targets = state.parts["train"].targets[: min(SOLVED_ROWS, max(1, HELD // width))].numpy()
    shape = (len(targets), width)
    rows = numpy_generator(state.settings.seed, "a forecast of the head").standard_normal(shape, np.float32)
    started = time.perf_counter()
    solver_of(state)(*state.model.head.as_rows(rows, targets))
    seconds = (time.perf_counter() - started) * len(state.parts["train"]) / len(targets)
    state.spent["solving"] = seconds
    return Line("head", seconds, "timed on random numbers")


def _precision(state: TrainState, phase: Phase) -> tuple[str, float]:
    """The precision that the phase would be trained in, and the seconds it takes to find out."""
    batches = training_batches(state.parts["train"], phase, state.settings.seed, 1, 0, state.device)
    started = time.perf_counter()
    chosen = precision.choose(deepcopy(state.model), state.objective, batches, phase, state.device, remember=False)
    return chosen, time.perf_counter() - started


def _as_they_are(features: Features) -> Generator[Event, None, Features]:
    """In place of computing the features again."""
    yield from ()
    return features
