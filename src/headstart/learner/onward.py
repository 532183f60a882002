"""Going on from a finished run with other images: its weights, its parts and its answers, taken into a run of their own.

The earlier run stays as it is: rows measured on another validation part do not compare, and a model that got worse must not
take the place of one that was good (docs/decisions/0009).
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from headstart import model as models
from headstart.core import Dataset, Settings, Task
from headstart.data import earlier as earlier_data
from headstart.data import fixes
from headstart.data.earlier import Earlier
from headstart.errors import BadSetting, DataError
from headstart.evaluate import changes
from headstart.modalities import _cells
from headstart.modalities._scan import counted, quoted
from headstart.model import Model
from headstart.store import bundle as bundles
from headstart.store.bundle import Bundle
from headstart.store.runs import Run, folder_of
from headstart.tasks import _choice as tasks
from headstart.train import handover
from headstart.train.begin import Begun
from headstart.train.settings import changed
from headstart.train.state import TrainState


@dataclass(frozen=True)
class Start:
    """The finished training that another one starts from; `run` is None for a bundle without its run folder."""

    path: Path
    model: Model
    task: Task
    settings: Settings
    earlier: Earlier | None
    run: Run | None
    beside: bool = False
    """Whether the new run folder takes its name from that run."""

    def folder(self) -> Path | None:
        """The first free folder called after the run, None where the new run is called after its data."""
        if not self.beside or self.run is None:
            return None
        name, number = re.sub(r"-\d+$", "", self.run.path.name), 2
        while (folder := self.run.path.with_name(f"{name}-{number}")).exists():
            number += 1
        return folder


def start_of(path: str | Path, module: nn.Module | None = None, beside: bool = False) -> Start:
    """What a training that starts from the run or bundle at `path` needs of it.

    Raises:
        NotARun, NewerFormat: as `load`.
    """
    run = run_of(path)
    bundle = bundles.load(run.path if run else path)
    where = run.path if run else Path(path).expanduser().absolute()
    model = models.load_bundle(bundle, module)
    model.backbone.spec = replace(model.backbone.spec, source=str(where))
    return Start(
        where,
        model,
        task_of(bundle),
        run.plan().settings if run else settings_of(bundle),
        None if run is None else earlier_of(run),
        run,
        beside,
    )


def run_of(path: str | Path) -> Run | None:
    """The run that a path means, None for a bundle by itself."""
    return Run.open(path) if str(path) == "last" or folder_of(Path(path).expanduser()) else None


def settings_of(bundle: Bundle) -> Settings:
    """The settings a bundle was made with, as far as this version has them."""
    known = {field.name for field in fields(Settings)}
    kept = {"features": "last", **bundle.config["headstart"].get("settings", {})}
    return Settings(**{name: _plain(value) for name, value in kept.items() if name in known})


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def task_of(bundle: Bundle) -> Task:
    """What the outputs of a bundle mean."""
    return tasks.from_state(bundle.task)


def earlier_of(run: Run) -> Earlier | None:
    """What the run knew of its images, None before it has divided them."""
    if not (run.path / "split.json").is_file():
        return None
    return earlier_data.from_json(run.split(), run.audit().get("images", {}))


# -------------------------------------------------------------------------------------------------------- which data


def is_other(dataset: Dataset, run: Run | None, task: Task) -> bool:
    """Whether the data set has other images, labels or classes than the run (or bundle) knew; nothing is read."""
    earlier = None if run is None else earlier_of(run)
    if earlier is None:
        return bool(task.unknown(labels_of(dataset)))
    return not earlier.same_names(dataset)


def labels_of(dataset: Dataset) -> list[Any]:
    """The raw labels of the records that have one."""
    return [record.target for record in dataset.records if record.target is not None]


def require_known(dataset: Dataset, task: Task, run: Run | None) -> None:
    """Raises `DataError` when the data is not at hand, or labels came up that the model has no output for."""
    if not dataset.records and dataset.root is None and dataset.notes:
        raise DataError(dataset.notes[0])
    strange = task.unknown(labels_of(dataset))
    if strange and run is not None:
        raise DataError(
            f"{counted(len(strange), 'class', 'classes')} of {quoted(dataset.name)} came up since the run began: "
            f"{', '.join(map(quoted, strange[:5]))}. The model has no output for {'it' if len(strange) == 1 else 'them'}. "
            f"To go on with what is there now, in a run of its own: headstart more {run.path} --data {dataset.root or 'PATH'} --epochs 3"
        )


def adopted(dataset: Dataset, settings: Settings, start: Start) -> tuple[Dataset, Settings, Task]:
    """The data, the settings that the model of the start fixes, and the task with the classes of the start first, new ones after.

    Raises:
        DataError: when the data cannot be the whole of what is to be learned.
        BadSetting: when the settings name another model.
    """
    if settings.task not in (None, start.task.name):
        raise BadSetting(
            f"{start.path} is a model for {start.task.name}, got task={settings.task!r}. To start another task from what its layers have "
            f'learned, with a new head: backbone="{start.path}".'
        )
    dataset = tasks.met(dataset, start.task)
    labels = labels_of(dataset)
    new, sizes = start.task.unknown(labels), start.task.counts(labels)
    if _cells.are_measured(new) and not any(_cells.number(name) is not None for name in start.task.names):
        raise DataError(
            f"the labels of {quoted(dataset.name)} are numbers ({', '.join(map(quoted, new[:3]))}, ...), and {start.path} tells apart "
            f"{', '.join(map(quoted, start.task.names[:5]))}. Name the column of such labels (label_column=...). To learn numbers from what "
            f'its layers have learned, with a new head: task="regression", backbone="{start.path}".'
        )
    gone = [name for name in start.task.names if sizes.get(name) == 0]
    missing = () if start.earlier is None else start.earlier.missing(dataset)
    if start.task.divides and sum(map(bool, sizes.values())) < 2:
        lost = f" {counted(len(missing), 'image')} that the model was made with {'is' if len(missing) == 1 else 'are'} not in it."
        raise DataError(
            f"{quoted(dataset.name)} has {counted(sum(map(bool, sizes.values())), 'class', 'classes')}.{lost if missing else ''} "
            "The data given must be all that the model shall know from now on, earlier images too: put the new images beside them."
        )
    notes = [f"This training starts from {start.path}, which stays as it is."]
    if new:
        notes.append(f"New to the model: {', '.join(map(quoted, new))}. The head gets a row for each, started from its images.")
    if gone:
        notes.append(
            f"No image of {', '.join(map(quoted, gone))} is left: the head keeps what it knows of "
            f"{'it' if len(gone) == 1 else 'them'}, but nothing measures it, and training on the others may make it forget."
        )
    if missing:
        known = len(start.earlier.parts()) if start.earlier else 0
        notes.append(
            f"{len(missing):,} of the {known:,} images that the model was made with are not in {quoted(dataset.name)} "
            f"(first: {quoted(missing[0])}): the model may forget what only they showed."
        )
    settings, told = _fixed(settings, start)
    return replace(dataset, notes=(*dataset.notes, *notes, *told)), settings, start.task.widened(labels)


def _fixed(settings: Settings, start: Start) -> tuple[Settings, list[str]]:
    """The settings with the model that the start has, and what had to be changed for it."""
    taken = start.settings
    if settings.backbone not in (Settings().backbone, taken.backbone, models.located(taken.backbone)) or (
        taken.pretrained and not settings.pretrained
    ):
        raise BadSetting(
            f"the model comes from {start.path} (backbone {taken.backbone}), so neither another backbone ({settings.backbone}) nor "
            "random weights can be asked for. Leave one of the two out."
        )
    if settings.features not in (Settings().features, taken.features):
        raise BadSetting(
            f'the head of {start.path} sees what features="{taken.features}" gives, so features="{settings.features}" cannot be asked for. Leave it '
            f'out, or start with a new head: backbone="{start.path}".'
        )
    kind = start.model.head_kind
    told, head = [], settings.head
    if start.model.head.solvable is None and head == "solve":
        head = "train"
        told = [f"The head of that model is of the kind {kind}, which cannot be solved: it is trained by gradient steps."]
    fixed = {
        "backbone": taken.backbone,
        "pretrained": taken.pretrained,
        "head_kind": kind,
        "head": head,
        "features": taken.features,
    }
    return changed(settings, {**fixed, "size": settings.size or taken.size}), told


def model_of(start: Start, outputs: int, settings: Settings, data: Dataset) -> Model:
    """A model with the weights of the start and `outputs` outputs; new ones never win until they have been given rows."""
    models.build_backbone(start.model.backbone, size=settings.size, data=data)
    return handover.widened(start.model, outputs, settings.seed)


# ------------------------------------------------------------------------------------------------ before and after


def taken_over(begun: Begun, start: Start) -> dict[str, str]:
    """Gives the new classes their rows; returns what the earlier model said of the validation images of classes it knew."""
    began = time.perf_counter()
    said = _answers(begun, start.task)
    begun.state.spent["changes"] = time.perf_counter() - began
    if begun.features is not None and begun.state.task.outputs > start.task.outputs:
        handover.start_new_rows(begun.state, begun.features, start.task.outputs)
    return said


def told_fixes(begun: Begun, earlier: Earlier | None) -> list[str]:
    """What a label file changes in the parts that choose and judge, in sentences."""
    return fixes.on_judges(begun.dataset, begun.split, earlier.parts() if earlier else {})


def _answers(begun: Begun, task: Task) -> dict[str, str]:
    """What the model says of each validation image whose label the earlier task knew; nothing where nothing is right or wrong."""
    state = begun.state
    valid = state.parts["valid"]
    labels = {record.id: record.target for record in begun.dataset.records}
    among = [place for place, name in enumerate(valid.ids) if state.task.exact and not task.unknown([labels[name]])]
    if not among:
        return {}
    said = _said(state)
    return {valid.ids[place]: said[place] for place in among}


def _said(state: TrainState) -> list[str]:
    """What the model says of each validation image, in words."""
    return [prediction.text for prediction in state.answers().predict(state.outputs("valid"), state.parts["valid"].ids)]


def note_before(run: Run, start: Start, before: Mapping[str, str]) -> None:
    """Keeps in the run folder where the training comes from and what the model said then, so that it can be compared later."""
    run.write_changes({"from": str(start.path), "before": dict(before), "classes": []})


def told_changes(run: Run, begun: Begun) -> list[str]:
    """What the model as it is now lost and gained, in sentences; `changes.json` has it in numbers. None where it began afresh."""
    noted = run.changes()
    before = noted.get("before", {})
    state = begun.state
    valid = state.parts["valid"]
    among = [place for place, name in enumerate(valid.ids) if name in before]
    if not among:
        return []
    said, truth = _said(state), state.task.texts(valid.targets)
    found = changes.compared(
        [truth[place] if state.task.divides else "all labels" for place in among],
        np.array([before[valid.ids[place]] != truth[place] for place in among]),
        np.array([said[place] != truth[place] for place in among]),
    )
    run.write_changes({**noted, "classes": [change.json() for change in found]})
    return changes.in_words(found)
