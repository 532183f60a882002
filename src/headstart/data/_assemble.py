"""A Dataset from records: its classes, the call that made it, and what should be said about it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headstart import plugins
from headstart.core import Dataset, Modality, Record
from headstart.data.labels import NameRule, describe
from headstart.data.sheet import show
from headstart.errors import BadSetting
from headstart.modalities._scan import clean, counted, quoted


def assemble(
    name: str,
    records: Sequence[Record],
    root: str | None,
    notes: Sequence[str],
    origin: dict[str, Any],
    arrays: Sequence[Any] | None = None,
    columns: tuple[str, ...] = (),
    modality: str = "image",
    inputs: tuple[str, ...] = (),
    viewer: Callable[[Dataset], Any] | None = show,
    legend: Mapping[int, str | None] | None = None,
) -> Dataset:
    """The data set of these records, shares and seed as in `origin`."""
    labels = sorted({record.target for record in records if isinstance(record.target, str)}) if not legend else []
    return Dataset(
        name=clean(name) or "data",
        records=tuple(records),
        root=root,
        valid=origin["valid"],
        test=origin["test"],
        seed=origin["seed"],
        arrays=arrays,
        notes=(*notes, *_look_alikes(labels)),
        origin=origin,
        columns=columns,
        modality=modality,
        inputs=inputs,
        item=plugins.find("modalities", modality).plain().words.item,
        viewer=viewer,
        legend=legend or {},
    )


def describe_call(
    kind: str, valid: float, test: float, seed: int, **arguments: str | Sequence[str] | Sequence[int] | dict[str, str] | None
) -> dict[str, Any]:
    """The call that makes a data set, as plain JSON; `from_origin` is the way back."""
    return {"kind": kind, "valid": valid, "test": test, "seed": seed, **arguments}


def group_notes(records: Sequence[Record], group_by: NameRule | None) -> list[str]:
    """Sentences on what `group_by` found.

    Raises:
        BadSetting: it found nothing.
    """
    if group_by is None:
        return []
    lone = [record.id for record in records if record.group is None]
    if len(lone) == len(records):
        raise BadSetting(f"group_by={describe(group_by)!r} finds no group for any image (the first is {quoted(lone[0])}).")
    groups = {record.group for record in records} - {None}
    notes = [f"group_by finds {counted(len(groups), 'group')}; a random split keeps each on one side."]
    if lone:
        notes.append(f"{counted(len(lone), 'image')} in no group (first: {quoted(lone[0])}).")
    return notes


def _look_alikes(classes: Sequence[str]) -> list[str]:
    """A note on classes that are probably one: "Cat" and "cat"."""
    spelled: dict[str, str] = {}
    for label in filter(lambda name: any(map(str.isalpha, name)), classes):
        other = spelled.setdefault("".join(filter(str.isalnum, label.casefold())) or label, label)
        if other != label:
            return [f"{quoted(other)} and {quoted(label)} count as two classes. If they are one, give them the same name."]
    return []


def plain_of(dataset: Dataset) -> Modality:
    """What the examples of the data set are, for a look at them without a model."""
    return plugins.find("modalities", dataset.modality).plain(dataset.inputs)
