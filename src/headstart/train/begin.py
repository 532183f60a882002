"""From a data set and a model to a `TrainState`: images decoded while the frozen backbone already reads them, then audited and divided."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from headstart.core import Dataset, Event, Modality, Note, Predictive, Progress, Settings, Split, Task
from headstart.data import balance, batches, stores
from headstart.data.audit import Audit, auditing, left_out, reasons, require_usable, with_faults
from headstart.data.batches import Examples
from headstart.data.earlier import PARTS, Earlier
from headstart.data.split import make_split
from headstart.data.stores import Store
from headstart.engine.frozen import FrozenForward, choose_frozen
from headstart.engine.frozen import torch_features as frozen_in_torch
from headstart.errors import DataError
from headstart.metrics import Measured
from headstart.modalities._scan import counted, quoted
from headstart.model import Model
from headstart.train import features as cached
from headstart.train.features import Features
from headstart.train.state import TrainState

CHECKED_IMAGES = 32


@dataclass(frozen=True)
class Begun:
    """What training starts from; `features` are None when nobody asked for them."""

    state: TrainState
    store: Store
    audit: Audit
    split: Split
    features: Features | None
    dataset: Dataset


def begin(
    dataset: Dataset,
    store: Store,
    model: Model,
    task: Task,
    settings: Settings,
    metrics: Sequence[Any],
    device: torch.device,
    with_features: bool,
    earlier: Earlier | None = None,
) -> Generator[Event, None, Begun]:
    """Yields what happens, returns what training starts from. `store` may still be filling.

    Images that an `earlier` training knew keep the part they had in it.
    """
    make_split(
        dataset if earlier is None else earlier.placed(dataset, {}), store.ids, {}, task
    )  # what cannot be divided is told before anything is read
    early = with_features and not model.backbone.settles
    features = (yield from engine_features(store, model, device)) if early else None
    for index in range(len(store)):
        store.wait(index)
        if index % 16 == 0 or index + 1 == len(store):
            yield Progress(f"reading {store.modality.words.items}", index + 1, len(store))
    faults = task.faults([record.target for record in dataset.records])
    found = yield from auditing(dataset, with_faults(store.reports(), faults), store.prints, task)
    require_usable(dataset, found)
    for sentence in (*store.notes, *found.summary()):
        yield Note(sentence)
    split = divided(dataset, found, earlier, task)
    targets = {record.id: record.target for record in dataset.records}
    places = {name: place for place, name in enumerate(store.ids)}
    parts = {
        part: _examples(store, [places[name] for name in ids], task, _encoded(task, {name: targets[name] for name in ids}))
        for part, ids in (("train", split.train), ("valid", split.valid), ("test", split.test))
    }
    if model.backbone.settles:
        modality = store.modality
        model.backbone.settle(modality.to_input(torch.from_numpy(batch).to(device)) for batch in batches.stored(parts["train"]))
        features = (yield from engine_features(store, model, device)) if with_features else None
    return Begun(TrainState(model, task, parts, settings, metrics, device), store, found, split, features, dataset)


def divided(dataset: Dataset, found: Audit, earlier: Earlier | None, task: Task) -> Split:
    """The split of the usable images; that of the earlier training itself where nothing has changed."""
    if earlier is None:
        return make_split(dataset, found.usable(), found.groups(), task)
    placed = earlier.placed(dataset, {file.id: file.digest for file in found.files})
    split = make_split(placed, found.usable(), found.groups(), task)
    same = all(set(getattr(split, part)) == set(getattr(earlier.split, part)) for part in PARTS)
    return earlier.split if same else split


def _examples(store: Store, indices: Sequence[int], task: Task, targets: Any) -> Examples:
    ids = tuple(store.ids[index] for index in indices)
    return Examples(store, np.array(indices, np.int64), targets, ids, task.groups(targets))


def _encoded(task: Task, labels: Mapping[str, Any]) -> Any:
    """The targets of these labels, in their order; where one cannot be read, the error says whose is the first.

    Raises:
        DataError: as the task's own.
    """
    try:
        return task.encode(list(labels.values()))
    except DataError as error:
        for name, label in labels.items():
            try:
                task.encode([label])
            except DataError:
                raise DataError(f"{error} The first: {quoted(name)}.") from None
        raise


def sizes_in_words(split: Split, items: str = "images") -> str:
    """How many examples train, choose and judge."""
    test = f", {len(split.test)} for a last test" if split.test else ""
    return f"{len(split.train)} {items} to train on, {len(split.valid)} to validate on{test} ({split.rule})."


def classes_in_words(state: TrainState) -> str | None:
    """What should be known of the sizes of the classes, None where there is nothing to say."""
    train = state.parts["train"]
    return (
        None
        if train.groups is None
        else balance.in_words(state.task.texts(train.targets), state.settings.balance, train.store.modality.words.items)
    )


def engine_features(store: Store, model: Model, device: torch.device) -> Generator[Progress | Note, None, Features | None]:
    """From the cache, or by one pass of the fastest engine that agrees with torch; None where they would not fit into memory."""
    if not (yield from _fit_in_memory(store, model)):
        return None
    file = cached.cache_file(store, cached.digest(model.backbone.state_dict()))
    kept = cached.stored(file, len(store))
    if kept is not None:
        return kept
    frozen = choose_frozen(model.backbone, store.modality, store.stored(_first_usable(store)), device)
    for sentence in frozen.notes:
        yield Note(sentence)
    yield Note(f"Features by {frozen.name}.")
    return (yield from cached.compute(store, frozen, model.backbone.spec.width, file))


def _fit_in_memory(store: Store, model: Model) -> Generator[Note, None, bool]:
    """Whether the features of all examples can be kept; maps of many images cannot, and then the head is trained by steps."""
    width = model.backbone.spec.width
    if cached.can_be_held(len(store), width):
        return True
    yield Note(
        f"The maps of {len(store):,} {store.modality.words.items} would take {4e-9 * len(store) * width:,.1f} GB: the head is trained by gradient "
        "steps and not solved."
    )
    return False


def torch_features(store: Store, model: Model, device: torch.device) -> Generator[Progress | Note, None, Features]:
    """By torch in float32, whatever is in the cache, which is replaced."""
    frozen = FrozenForward("torch f32", frozen_in_torch(model.backbone, store.modality, device), {})
    file = cached.cache_file(store, cached.digest(model.backbone.state_dict()))
    return (yield from cached.compute(store, frozen, model.backbone.spec.width, file))


def _first_usable(store: Store) -> list[int]:
    found: list[int] = []
    for index in range(len(store)):
        if store.wait(index):
            found.append(index)
        if len(found) == CHECKED_IMAGES:
            break
    return found


def evaluated(
    dataset: Dataset,
    model: Model,
    task: Task,
    modality: Modality,
    metrics: Sequence[Any],
    device: torch.device,
    settings: Settings,
    per_class: bool = False,
    tta: int = 1,
    speaker: Predictive | None = None,
) -> Generator[Note, None, dict[str, Measured]]:
    """Yields what is left out and why, returns every metric of the model on all other examples of a data set it need not have seen.

    `speaker` answers in its place, where there is one.

    Raises:
        DataError: for labels the model does not know, or when nothing is left.
    """
    model.backbone.require(dataset)
    for sentence in dataset.notes:
        yield Note(sentence)
    labelled = replace(dataset, records=tuple(record for record in dataset.records if record.target is not None))
    faults = task.faults([record.target for record in labelled.records])
    good = [record for place, record in enumerate(labelled.records) if place not in faults]
    targets = _encoded(task, {record.id: record.target for record in good})
    place = {record.id: place for place, record in enumerate(good)}
    with closing(stores.start(labelled, modality)) as store:
        reports = with_faults(store.reports(), faults)
        usable = [index for index, report in enumerate(reports) if report.status == "ok"]
        if not usable:
            n, first = counted(len(reports), f"labelled {dataset.item}"), f" The first: {reports[0].message}" if reports else ""
            raise DataError(f"none of the {n} of {dataset.name} can be used: {reasons(reports)}.{first}")
        for sentence in left_out(reports):
            yield Note(sentence)
        examples = _examples(store, usable, task, targets[torch.tensor([place[reports[index].id] for index in usable])])
        state = TrainState(model.to(device), task, {"test": examples}, settings, metrics, device)
        return state.measured("test", per_class, tta, speaker)
