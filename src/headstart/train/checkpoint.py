"""A training as data on disk, and back: what is written is what the next step depends on, so that going on is exact."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from headstart.core import Phase
from headstart.errors import StoreError
from headstart.store import checkpoints
from headstart.store.checkpoints import Checkpoint
from headstart.store.codec import from_json, to_json
from headstart.tasks import _choice as tasks
from headstart.train import course as courses
from headstart.train.course import Place, Snapshot
from headstart.train.pacing import Logged
from headstart.train.state import TrainState


def of_snapshot(snapshot: Snapshot, extra: Mapping[str, Any] | None = None, kept: Mapping[str, Any] | None = None) -> Checkpoint:
    """The checkpoint of a snapshot, with further numbers."""
    place = snapshot.place
    numbers = {name: getattr(place, name) for name in ("epoch", "batch", "step", "seconds", "lr", "counts", "rowless", "threads")}
    state = {"phase": snapshot.phase, "place": {**numbers, "losses": [float(loss) for loss in place.losses]}, **(extra or {})}
    return Checkpoint(
        snapshot.model, snapshot.moments, to_json(state), kept or {}, adapters=snapshot.adapters, average=snapshot.average
    )


def to_snapshot(checkpoint: Checkpoint, where: str) -> Snapshot:
    """The snapshot that `of_snapshot` made the checkpoint from.

    Raises:
        StoreError: `where` names the file.
    """
    state = checkpoint.state
    try:
        place = dict(state["place"])
        losses = [torch.tensor(float(loss)) for loss in place.pop("losses")]
        return Snapshot(
            from_json(Phase, state["phase"], where),
            Place(**place, losses=losses),
            dict(checkpoint.model),
            dict(checkpoint.optimizer),
            dict(checkpoint.adapters),
            dict(checkpoint.average),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{where} is not a whole checkpoint ({error!r}). Delete the folder it is in to do without it."
        ) from error


def good_of(folder: Path, place: Place) -> Snapshot | None:
    """The snapshot in `folder` of the beginning of the epoch that `place` is in; None when it has none that can be read."""
    try:
        kept = checkpoints.load(folder)
        snapshot = None if kept is None else to_snapshot(kept, str(folder))
    except StoreError:
        return None
    fits = snapshot is not None and snapshot.place.epoch == place.epoch and snapshot.place.step == place.step - place.batch
    return snapshot if fits else None


def of_state(state: TrainState, seconds: float) -> Checkpoint:
    """Everything from which `take_up` goes on."""
    assert state.course is not None, "only a course has checkpoints"
    extra = {
        "rows": state.rows,
        "phases": state.phases,
        "seconds": seconds,
        "spent": state.spent,
        "first_stage": state.first_stage,
        "answers": state.answers().state(),
    }
    kept = state.weights[state.kept()["epoch"]] if state.rows else {}
    return of_snapshot(courses.snapshot(state.model, state.course), extra, kept)


def of_trunk(state: TrainState) -> Checkpoint:
    """What `more` goes on from."""
    assert state.trunk is not None, "only a phase whose rate has begun to fall has a trunk"
    return of_snapshot(state.trunk)


def take_up(state: TrainState, checkpoint: Checkpoint, where: str) -> None:
    """Gives `state` the course, rows and weights of the checkpoint."""
    snapshot = to_snapshot(checkpoint, where)
    told = checkpoint.state
    state.rows = list(told["rows"])
    state.phases = [from_json(Phase, phase, where) for phase in told["phases"]]
    state.first_stage, state.spent = told["first_stage"], dict(told["spent"])
    if state.rows and "answers" in told:
        state.answering[state.kept()["epoch"]] = tasks.from_state(told["answers"])
    if checkpoint.kept:
        state.weights[state.kept()["epoch"]] = dict(checkpoint.kept)
    state.course = courses.taken_up(state.model, snapshot, snapshot.phase)


def logged_after(entries: list[list[float | int]], step: int) -> list[Logged]:
    """The steps of a run by the clock that were made after `step`, as far as the log has them without a gap."""
    wanted: list[Logged] = []
    for number, progress, seconds, rowless, threads in entries:
        if int(number) == step + len(wanted) + 1:
            wanted.append(Logged(progress, seconds, int(rowless), int(threads)))
    return wanted
