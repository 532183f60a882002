"""Which task the labels of a data set ask for: the one that is named, or what they look like, with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from headstart import plugins
from headstart.core import Dataset, Task, TaskWords
from headstart.errors import DataError
from headstart.modalities import _cells
from headstart.modalities._scan import counted, quoted
from headstart.tasks._class_names import ClassNames
from headstart.tasks._label_names import LabelNames
from headstart.tasks._mask_names import MaskNames
from headstart.tasks._numbers import Numbers

FEW_VALUES = 20
"""Up to so many different whole numbers, each several times, are taken for the names of classes."""


@runtime_checkable
class Labels(Protocol):
    """What of a task tells of raw labels."""

    @property
    def divides(self) -> bool: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def words(self) -> TaskWords: ...

    def counts(self, raw: Sequence[Any]) -> dict[str, int]: ...

    def strata(self, raw: Sequence[Any]) -> list[str]: ...

    def faults(self, raw: Sequence[Any]) -> Mapping[int, str]: ...

    def tells(self, label: Any) -> bool: ...


READERS = MappingProxyType(
    {"single_label": ClassNames, "multi_label": LabelNames, "regression": Numbers, "segmentation": MaskNames}
)
"""What reads the labels of the tasks that come with headstart, without torch, which takes seconds to be imported."""


def read(dataset: Dataset, name: str | None = None) -> tuple[Labels, str | None]:
    """The part of the task that `choose` would return which needs no torch, and the same sentence.

    Raises:
        UnknownName, DataError: as `choose`.
    """
    guessed, reason = _guess(dataset) if name is None else (name, None)
    return (READERS.get(guessed) or _class(guessed)).from_data(dataset), reason


def choose(dataset: Dataset, name: str | None = None) -> tuple[Task, str | None]:
    """The task that the labels ask for, or that of the `name`, and a sentence on why where that is worth one.

    Raises:
        UnknownName: for a name that is no task, with the nearest.
        DataError: for labels that do not fit the task.
    """
    guessed, reason = _guess(dataset) if name is None else (name, None)
    return _class(guessed).from_data(dataset), reason


def met(dataset: Dataset, task: Labels) -> Dataset:
    """The data as the task reads it: label columns in its order, no label where the one that is there tells it nothing.

    Raises:
        DataError: for other label columns than those that the task is about.
    """
    if isinstance(task, MaskNames):
        task.require_legend(dataset)
    dataset = _in_order(dataset, task.names)
    records = tuple(
        replace(record, target=None) if record.target is not None and not task.tells(record.target) else record
        for record in dataset.records
    )
    lost = [new.id for old, new in zip(dataset.records, records, strict=True) if new is not old]
    if not lost:
        return dataset
    note = f"Left out {counted(len(lost), 'example')} whose label is empty or unknown (first: {quoted(lost[0])})."
    return replace(dataset, records=records, notes=(*dataset.notes, note))


def _in_order(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """The data with its label columns, where there are several, in this order."""
    if len(dataset.columns) < 2 or dataset.columns == names:
        return dataset
    if set(dataset.columns) != set(names):
        raise DataError(
            f"{quoted(dataset.name)} has the label columns {', '.join(map(quoted, dataset.columns[:8]))}, and this is about "
            f"{', '.join(map(quoted, names[:8]))}. Name the columns: label_column=[...]; an empty cell where nobody knows."
        )
    places = [dataset.columns.index(name) for name in names]
    records = tuple(
        record if record.target is None else replace(record, target=tuple(record.target[place] for place in places))
        for record in dataset.records
    )
    return replace(dataset, records=records, columns=names)


def from_state(state: Mapping[str, Any]) -> Task:
    """The task whose `state()` this is, whatever it is."""
    name = str(state.get("name"))
    return _class(name).from_state({key: value for key, value in state.items() if key != "format"})


def _class(name: str) -> Any:
    """The class in the file of that name: `single_label` holds `SingleLabel`."""
    module = plugins.find("tasks", name)
    return getattr(module, "".join(map(str.capitalize, name.split("_"))))


def _guess(dataset: Dataset) -> tuple[str, str | None]:
    if dataset.legend:
        return "segmentation", "Each image has a mask: what is learned is the class of every place."
    labels = [record.target for record in dataset.records if record.target is not None]
    several = [label for label in labels if not isinstance(label, str)]
    if several:
        return _of_columns([cell for label in several for cell in label], dataset.columns)
    cells = [label for label in labels if isinstance(label, str)]
    if not dataset.columns:  # names of folders, or given in Python: what they are called is what they are
        return "single_label", None
    column = dataset.columns[0]
    known = [cell for cell in cells if not _cells.is_unknown(cell)]
    numbers = [number for cell in known if (number := _cells.number(cell)) is not None]
    if known and len(numbers) == len(known):
        return _of_numbers(numbers, column)
    if (separator := _cells.separator_of(cells)) is not None:
        shown = {" ": "spaces"}.get(separator, f'"{separator}"')
        return (
            "multi_label",
            f'The cells of {column} hold several labels, divided by {shown}. One class each: task="single_label".',
        )
    return "single_label", None


def _of_columns(cells: list[str], columns: tuple[str, ...]) -> tuple[str, str | None]:
    if not columns:
        return "multi_label", None
    shown = ", ".join(columns[:3]) + (", ..." if len(columns) > 3 else "")
    if all(_cells.is_flag(cell) or _cells.is_unknown(cell) for cell in cells):
        return (
            "multi_label",
            f"{len(columns)} label columns ({shown}) say yes or no: each example has any number of these labels.",
        )
    if all(_cells.is_unknown(cell) or _cells.number(cell) is not None for cell in cells):
        return "regression", f"{len(columns)} label columns ({shown}) hold numbers: they are predicted."
    return "multi_label", None


def _of_numbers(numbers: list[float], column: str) -> tuple[str, str | None]:
    different = set(numbers)
    whole = all(number.is_integer() for number in different)
    if whole and len(different) <= min(FEW_VALUES, len(numbers) / 2):
        words = f"{column} holds {len(different)} different whole numbers: they are taken for classes."
        return "single_label", f'{words} To predict them as numbers: task="regression" (--task regression).'
    words = f"{column} holds numbers: they are predicted, with their noise."
    return "regression", f'{words} If they are names of classes: task="single_label" (--task single_label).'
