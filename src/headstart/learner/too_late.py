"""Settings that come too late for what was trained: they are refused before anything is changed."""

from collections.abc import Collection, Sequence

from headstart.core import Row, Settings, Task
from headstart.errors import BadSetting
from headstart.train.state import kept_of

OF_THE_MODEL = ("backbone", "pretrained", "head_kind", "features")
"""Settings that decide what is built."""


def other_model(old: Settings, new: Settings) -> str | None:
    """The first setting with which another model would be built, None where it is the same."""
    return next((name for name in OF_THE_MODEL if getattr(new, name) != getattr(old, name)), None)


def require_same_model(old: Settings, new: Settings) -> None:
    """Raises `BadSetting` when the new settings make another model than the one that is there."""
    if name := other_model(old, new):
        raise BadSetting(
            f"{name}={getattr(new, name)!r} makes another model, but this one is trained already "
            f"({name}={getattr(old, name)!r}). Start over with fine_tune(..., restart=True), or make a new Learner."
        )


def require_same_task(task: str, new: Settings) -> None:
    """Raises `BadSetting` when the settings name another task than the one that the learner was made for."""
    if new.task not in (None, task):
        raise BadSetting(
            f"task={new.task!r} comes too late: this learner was made for {task}. Make a new one: hs.Learner(data, task={new.task!r})."
        )


def require_same_loss(task: Task, new: Settings) -> None:
    """Raises `BadSetting` when the settings name another likelihood than the one that the learner was made for."""
    if task.under(new.loss) != task:
        raise BadSetting(
            f"loss={new.loss!r} comes too late: this learner was made for another, and its head with it. Make a new one: "
            f"hs.Learner(data, loss={new.loss!r})."
        )


def require_same_kept(old: Settings, new: Settings, rows: Sequence[Row], weights: Collection[int]) -> None:
    """Raises `BadSetting` when the new settings choose among past rows by what these do not have, or a row whose weights are gone.

    Args:
        weights: the epochs of the rows whose weights are there: the kept one, in memory the last one too.
    """
    if (new.keep, new.monitor) == (old.keep, old.monitor):
        return
    if new.monitor not in rows[0]:
        raise BadSetting(
            f"monitor={new.monitor!r} is no column of the rows so far, so they could not be compared with the next ones. "
            "Ask for it, with the metric, when training begins."
        )
    wanted = kept_of(rows, new)["epoch"]
    if wanted not in weights:
        raise BadSetting(
            f"monitor={new.monitor!r} with keep={new.keep!r} would keep row {wanted}, whose weights are gone: those of "
            f"{', '.join(f'row {epoch}' for epoch in sorted(weights))} are left. Ask for it when training begins."
        )
