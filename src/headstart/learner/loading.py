"""Learners from what is on disk: a finished run, an interrupted one, a bundle."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from headstart import model as models
from headstart.core import Dataset, Note, Observer, Settings, Task
from headstart.data import sources
from headstart.errors import HeadstartError, NotARun, StoreError, UnknownName
from headstart.learner import fitted as fitted_posteriors
from headstart.learner import onward, verbs
from headstart.learner.facade import Learner
from headstart.learner.reading import opened
from headstart.store import bundle as bundles
from headstart.store import checkpoints
from headstart.store.bundle import Bundle
from headstart.store.runs import Run
from headstart.tasks import _choice as tasks
from headstart.train.state import kept_of

POINT_ESTIMATES = (
    "So predictions are point estimates. To fit it anew: headstart more, or in Python learn.posterior(); or remove the folder "
    "posterior."
)


def load(
    path: str | Path,
    data: Dataset | str | Path | None = None,
    observer: Observer | None = None,
    started: float | None = None,
    backbone: nn.Module | None = None,
) -> Learner:
    """The learner of a run or bundle: it predicts at once, and trains on where its data is still there (or given as `data`).

    Data with other images or classes than the run had starts a run of its own from this one's weights, which stays as it is:
    every image keeps the part it had, and a new class gets a row in the head. `backbone` is your own module, where it was made of one:
    its code is not in the bundle.

    Raises:
        NotARun: when there is none at `path`.
        NewerFormat: when a later headstart wrote it.
    """
    run = onward.run_of(path)
    bundle = bundles.load(run.path if run else path)
    task = onward.task_of(bundle)
    if data is not None:
        data = opened(data, run)
        if onward.is_other(data, run, task):
            start = onward.start_of(path, backbone, beside=True)
            return Learner(data, start.settings, backbone=backbone, from_run=start, observer=observer, started=started)
    return _loaded(run, bundle, data, observer, started, backbone)


def _loaded(
    run: Run | None,
    bundle: Bundle,
    data: Dataset | str | Path | None,
    observer: Observer | None,
    started: float | None,
    module: nn.Module | None = None,
) -> Learner:
    """The learner of what was saved, to be gone on with where it was."""
    task, plan = onward.task_of(bundle), None if run is None else run.plan()
    # what was asked for last, which the bundle of an earlier row does not know
    settings = onward.settings_of(bundle) if plan is None else plan.settings
    trained = task if plan is None else tasks.from_state(plan.task)
    learner = _learner(run, data, trained, settings, None, observer, started, module)
    rows = bundle.config["headstart"].get("rows", ())
    fitted, trouble = None, bundle.trouble
    try:
        fitted = fitted_posteriors.loaded(bundle, kept_of(rows, settings)["epoch"] if rows else 0)
    except StoreError as error:
        trouble = str(error)
    if trouble:
        verbs.screen_of(observer).show(Note(f"{trouble} {POINT_ESTIMATES}"))
    learner._session.take_up(run, plan is not None and plan.frozen, task, models.load_bundle(bundle, module), rows, fitted)
    return learner


def resume(
    path: str | Path,
    data: Dataset | str | Path | None = None,
    changed_data: bool = False,
    observer: Observer | None = None,
    started: float | None = None,
    backbone: nn.Module | None = None,
) -> Learner:
    """The learner of an interrupted run after finishing it, with the weights and rows it would have had.

    `backbone` is your own module, where the run was made of one, with the weights that it had then if no row was made yet.

    Raises:
        NotARun: when there is none at `path`.
        DataError: when the data is no longer what it was; `changed_data=True` goes on with what there is now.
    """
    run = Run.open(path)
    start = run.plan().data.get("from")
    if start is not None and checkpoints.newest(run.checkpoints)[0] is None and not run.plan().finished:
        learner = _begun_anew(run, data, start, observer, started, backbone)
    else:
        try:
            learner = _loaded(run, bundles.load(run.path), data, observer, started, backbone)
        except NotARun:  # interrupted before its first row
            learner = _begun_anew(run, data, None, observer, started, backbone)
    return learner.resume(changed_data)


def _begun_anew(
    run: Run,
    data: Dataset | str | Path | None,
    start: str | None,
    observer: Observer | None,
    started: float | None,
    module: nn.Module | None,
) -> Learner:
    """The learner that the run began with, whatever it has done since."""
    plan = run.plan()
    learner = _learner(run, data, tasks.from_state(plan.task), plan.settings, start, observer, started, module)
    learner._session.run, learner._session.frozen = run, plan.frozen
    return learner


def _learner(
    run: Run | None,
    data: Dataset | str | Path | None,
    task: Task,
    settings: Settings,
    start: str | None,
    observer: Observer | None,
    started: float | None,
    module: nn.Module | None = None,
) -> Learner:
    """A learner of the data given or the run's, with the settings as far as they outlived the process."""
    settings, told = _without_functions(settings, task)
    dataset = _data_of(run, data)
    dataset = replace(dataset, notes=(*dataset.notes, *told))
    return Learner(dataset, settings, backbone=module, from_run=start, task=task, observer=observer, started=started)


def _without_functions(settings: Settings, task: Task) -> tuple[Settings, tuple[str, ...]]:
    """The settings with the metrics that have a name here, and a sentence on those that were functions of the user's own."""
    lost = []
    for name in settings.metrics or ():
        try:
            task.metrics((name,))
        except UnknownName:
            lost.append(name)
    if not lost:
        return settings, ()
    left = tuple(name for name in settings.metrics or () if name not in lost)
    monitor = "valid_loss" if settings.monitor in lost else settings.monitor
    sentence = f"Not kept in a run, as they are functions: the metrics {', '.join(lost)}. Further rows come without them."
    if monitor != settings.monitor:
        sentence += f" valid_loss chooses the row from now on, not {settings.monitor}."
    return replace(settings, metrics=left, monitor=monitor), (sentence,)


def _data_of(run: Run | None, data: Dataset | str | Path | None) -> Dataset:
    """The data given, or that of the run if it is still there, or none: then training says what is missing."""
    if data is not None:
        return opened(data, run)
    try:
        if run is not None:
            return sources.from_origin(run.plan().data["origin"])
        reason = "this is a bundle without a run."
    except (HeadstartError, StoreError) as error:
        reason = str(error)
    where = "headstart more RUN --data PATH, headstart inspect RUN --data PATH, headstart evaluate RUN PATH, in Python hs.load(path, data=...)"
    note = f"The data of this model is not at hand: {reason} Give it: {where}."
    return Dataset("data", (), None, notes=(note,))
