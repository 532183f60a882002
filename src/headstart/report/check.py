"""A data set looked at before training: what was found in its files, whether it could be trained on, a sheet of samples."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from headstart.core import Dataset, Label, TaskWords
from headstart.data import stores
from headstart.data._assemble import plain_of
from headstart.data.audit import Audit, FileReport, auditing, require_usable, with_faults
from headstart.data.sheet import chosen, png, sheet
from headstart.data.split import make_split
from headstart.data.stores import OnProgress, Store
from headstart.errors import DataError
from headstart.store import atomic
from headstart.tasks import _choice as tasks


@dataclass(frozen=True)
class Checked:
    """What `check` found: the audit, a picture with images of every class where examples are pictures, and sentences for people."""

    dataset: Dataset
    audit: Audit
    sheet: Image.Image | None
    learned: str
    """What could be learned from it, in words."""
    lines: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join(self.lines)


def check(
    dataset: Dataset, folder: Path | None = None, on_progress: OnProgress | None = None, task: str | None = None
) -> Checked:
    """Audit and sample sheet without training; with a `folder`, also written there as `audit.json` and `sheet.png`.

    Args:
        task: what the labels are for; they tell, if nothing is named.

    Raises:
        DataError: when nothing can be read, or the labels do not fit the task.
    """
    dataset, asked, unfit = _asked(dataset, task)
    store = stores.start(dataset, plain_of(dataset))
    try:
        reports = with_faults(store.reports(on_progress), asked.faults([record.target for record in dataset.records]))
        found = _audited(dataset, reports, store, asked, on_progress)
        require_usable(dataset, found)
        usable = found.usable()
        picture = dataset.show() if dataset.legend else _sheet(dataset, store, usable)
    finally:
        store.close()
    if folder is not None:
        atomic.write_json(folder / "audit.json", found.json())
        if picture is not None:
            atomic.write_bytes(folder / "sheet.png", png(picture))
    lines = (*dataset.notes, *store.notes, *found.summary(), *(_unfit(dataset, found, asked) or unfit)[:1])
    return Checked(dataset, found, picture, asked.words.learned, lines)


def _sheet(dataset: Dataset, store: Store, usable: Collection[str]) -> Image.Image | None:
    """Some images of every class as they are stored; None where examples are no pictures."""
    some = chosen([index for index, name in enumerate(store.ids) if name in usable], dataset.records, dataset.seed)
    pictures = store.pictures(some)
    return sheet(pictures, [dataset.records[index] for index in some]) if pictures else None


@dataclass(frozen=True)
class _Unfit:
    """Stands for the task of labels that fit none, so that the rest can be looked at."""

    divides: bool = True
    names: tuple[str, ...] = ()

    def tells(self, label: Label) -> bool:
        return True

    def counts(self, raw: Sequence[Label]) -> dict[str, int]:
        return dict(Counter(map(str, raw)))

    def faults(self, raw: Sequence[Label]) -> dict[int, str]:
        return {}

    def strata(self, raw: Sequence[Label]) -> list[str]:
        return list(map(str, raw))

    @property
    def words(self) -> TaskWords:
        return TaskWords("labels", "", "label", "", "")


def _asked(dataset: Dataset, name: str | None) -> tuple[Dataset, tasks.Labels, list[str]]:
    """The data as its task reads it, the task, and why nothing could be trained."""
    try:
        task, reason = tasks.read(dataset, name)
    except DataError as error:
        return dataset, _Unfit(), [f"This cannot be trained on yet: {error}"]
    told = dataset if reason is None else replace(dataset, notes=(*dataset.notes, reason))
    return tasks.met(told, task), task, []


def _audited(
    dataset: Dataset, reports: list[FileReport], store: Store, task: tasks.Labels, on_progress: OnProgress | None
) -> Audit:
    steps = auditing(dataset, reports, store.prints, task)
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return end.value
        if on_progress is not None:
            on_progress(progress)


def _unfit(dataset: Dataset, found: Audit, task: tasks.Labels) -> list[str]:
    """Why no training could start, if so."""
    try:
        make_split(dataset, found.usable(), found.groups(), task)
        return []
    except DataError as error:
        return [f"This cannot be trained on yet: {error}"]
