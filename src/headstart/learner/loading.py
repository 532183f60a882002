"""Learners from what is on disk: a finished run, an interrupted one, a bundle."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from headstart import model as models
from headstart.core import Dataset, Observer, Settings
from headstart.data import sources
from headstart.errors import HeadstartError, NotARun, StoreError
from headstart.learner.facade import Learner
from headstart.store import bundle as bundles
from headstart.store.runs import Run
from headstart.tasks.single_label import SingleLabel


def load(
    path: str | Path,
    data: Dataset | str | Path | None = None,
    observer: Observer | None = None,
    started: float | None = None,
) -> Learner:
    """The learner of a run or bundle: it predicts at once, and trains on where its data is still there (or given as `data`).

    Raises:
        NotARun: when there is none at `path`.
        NewerFormat: when a later headstart wrote it.
    """
    run = _run_of(path)
    bundle = bundles.load(run.path if run else path)
    ours = bundle.config["headstart"]
    known = {field.name for field in fields(Settings)}
    settings = Settings(**{name: _plain(value) for name, value in ours.get("settings", {}).items() if name in known})
    task = SingleLabel.from_state({key: value for key, value in bundle.task.items() if key != "format"})
    if run is not None:
        settings = run.plan().settings  # what was asked for last, which the bundle of an earlier row does not know
    learner = Learner(_data_of(run, data, task.classes), settings, observer=observer, started=started)
    learner._model, learner._run, learner._earlier, learner._task = (
        models.load_bundle(bundle),
        run,
        list(ours.get("rows", ())),
        task,
    )
    return learner


def resume(
    path: str | Path,
    data: Dataset | str | Path | None = None,
    changed_data: bool = False,
    observer: Observer | None = None,
    started: float | None = None,
) -> Learner:
    """The learner of an interrupted run after finishing it, with the weights and rows it would have had.

    Raises:
        NotARun: when there is none at `path`.
        DataError: when the data is no longer what it was; `changed_data=True` goes on with what there is now.
    """
    run = Run.open(path)
    try:
        learner = load(run.path, data, observer, started)
    except NotARun:  # interrupted before its first row
        task = SingleLabel.from_state(dict(run.plan().task))
        learner = Learner(_data_of(run, data, task.classes), run.plan().settings, observer=observer, started=started)
        learner._run = run
    return learner.resume(changed_data)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _run_of(path: str | Path) -> Run | None:
    if str(path) == "last" or (Path(path) / "plan.json").is_file() or (Path(path).parent / "plan.json").is_file():
        return Run.open(path)
    return None


def _data_of(run: Run | None, data: Dataset | str | Path | None, classes: tuple[str, ...]) -> Dataset:
    """The data given, or that of the run if it is still there, or none: then training says what is missing."""
    if data is not None:
        return sources.open_path(data) if isinstance(data, str | Path) else data
    try:
        if run is not None:
            return sources.from_origin(run.plan().data["origin"])
        reason = "this is a bundle without a run"
    except (HeadstartError, StoreError) as error:
        reason = str(error)
    return Dataset(
        "data",
        (),
        classes,
        None,
        notes=(f"The data of this model is not at hand ({reason}); give it with hs.load(path, data=...).",),
    )
