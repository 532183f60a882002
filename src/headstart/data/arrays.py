"""A data set of what is in memory: images, texts, or rows of numbers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from headstart import plugins
from headstart.core import Dataset, Label, Part, Record
from headstart.data._assemble import assemble, describe_call
from headstart.data._layout import part_of
from headstart.data.labels import several, tidy
from headstart.data.sheet import show
from headstart.data.split import check_shares
from headstart.errors import DataError, unknown_name
from headstart.modalities._scan import clean, counted, quoted


@dataclass(frozen=True, slots=True)
class Kind:
    """What checks an example of a modality that is given in memory, and what makes a picture of all."""

    checked: Callable[[Any, str], Any]
    viewer: Callable[[Dataset], Any] | None = None


def from_arrays(
    examples: Iterable[Any] | Mapping[str, Any],
    labels: Iterable[Any],
    names: Iterable[str] | None = None,
    valid: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    groups: Iterable[Any] | None = None,
    parts: Iterable[str | None] | None = None,
    inputs: Iterable[str] | None = None,
) -> Dataset:
    """A data set of what is in memory: images, texts, or rows of numbers.

    Args:
        examples: arrays of uint8 [height, width, 3] (or grey [height, width]) or PIL images; or texts; or rows of numbers, as an
            array [examples, numbers], a list of rows, or a table: the columns by name. NaN is a number that nobody knows.
        labels: a class, a number, or a list of them (several labels, several numbers) for each; None where it is not known.
        names: one for each example, to be used as its id; numbers otherwise.
        groups: what must stay together in the split.
        parts: train, valid or test for each example.
        inputs: what the numbers of a row are called.

    Raises:
        DataError: lengths that differ, repeated names, or arrays of another kind.
    """
    check_shares(valid, test)
    if hasattr(examples, "columns") or isinstance(examples, Mapping):  # a data frame is a table too
        examples, inputs = _rows_of(examples), list(map(str, examples))
    arrays, (targets, columns) = list(examples), _given_labels(labels)
    modality = _modality_of(arrays)
    kind, item = KINDS[modality], plugins.find("modalities", modality).plain().words.item
    width = max(6, len(str(len(arrays))))
    ids = [str(name) for name in names] if names is not None else [f"{index:0{width}d}" for index in range(len(arrays))]
    tied = [tidy(group) for group in groups] if groups is not None else [None] * len(arrays)
    given: list[Part | None] = [_named_part(part) for part in parts] if parts is not None else [None] * len(arrays)
    for what, values in (("labels", targets), ("names", ids), ("groups", tied), ("parts", given)):
        if len(values) != len(arrays):
            raise DataError(f"there are {counted(len(arrays), item)} but {len(values):,} {what}. Give one for each {item}.")
    if not arrays:
        raise DataError("there are no images in the list. Give at least two of each of two classes.")
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        again = next(name for name in ids if name in seen or seen.add(name))
        raise DataError(f"the name {quoted(again)} is given to two {item}s. Names must differ, for predictions are told by name.")
    kept = [kind.checked(each, name) for each, name in zip(arrays, ids, strict=True)]
    rows = enumerate(zip(ids, targets, tied, given, strict=True))
    records = [
        Record(clean(name), index, target, group, part) for index, (name, target, group, part) in rows if target is not None
    ]
    notes = [f"Left out {counted(len(ids) - len(records), item)} without a label."] if len(records) < len(ids) else []
    origin = describe_call("from_arrays", valid, test, seed)
    numbers = _names_of_numbers(kept, inputs) if modality == "array" else ()
    return assemble("arrays", records, None, notes, origin, kept, columns, modality, numbers, kind.viewer)


def _rows_of(table: Any) -> list[list[Any]]:
    """The rows of a table that is given by its columns."""
    columns = [list(table[name]) for name in table]
    if len(set(map(len, columns))) > 1:
        raise DataError(f"the columns have {min(map(len, columns))} to {max(map(len, columns))} rows. Give as many in each.")
    return [list(row) for row in zip(*columns, strict=True)]


def _modality_of(arrays: list[Any]) -> str:
    """What the first example is: a text, a row of numbers, or else an image."""
    first = arrays[0] if arrays else None
    if isinstance(first, str):
        return "text"
    return "array" if isinstance(first, list | tuple | np.ndarray) and np.ndim(first) == 1 else "image"


def _names_of_numbers(rows: list[Any], given: Iterable[str] | None) -> tuple[str, ...]:
    widths = {len(row) for row in rows}
    names = None if given is None else tuple(map(str, given))
    if len(widths) > 1 or (names is not None and widths != {len(names)}):
        wanted = "each row" if names is None else f"each row, one for each of the {len(names)} names in inputs"
        raise DataError(f"the rows have {min(widths)} to {max(widths)} numbers. Give as many in {wanted}, NaN where unknown.")
    return names or tuple(f"number {place}" for place in range(max(widths)))


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"the example {quoted(name)} is a {type(value).__name__}, while the first is a text. Give texts only.")
    return value


def _row(value: Any, name: str) -> list[float]:
    try:
        return [float("nan") if number is None else float(number) for number in value]
    except (TypeError, ValueError):
        some = str(value)[:80]
        raise DataError(
            f"the row {quoted(name)} holds something that is no number: {some}. Give numbers, NaN where unknown."
        ) from None


def _given_labels(labels: Iterable[Any]) -> tuple[list[Label | None], tuple[str, ...]]:
    """Raw labels, and names for what they hold: a list of numbers is as many columns of a table, a list of words is labels."""
    given = list(labels)
    plain = [label.tolist() if isinstance(label, np.ndarray | np.generic) else label for label in given]
    listed = [label for label in plain if isinstance(label, list | tuple | set | frozenset)]
    if not listed:
        return [tidy(label) for label in plain], ("label",)
    numbers = all(isinstance(value, int | float) for label in listed for value in label)
    targets: list[Label | None] = []
    for label in plain:
        values = label if isinstance(label, list | tuple | set | frozenset) else [label]
        targets.append(None if label is None else several(values))
    widths = {len(target) for target in targets if target is not None}
    if numbers and len(widths) > 1:
        raise DataError(
            f"the labels are lists of {min(widths)} to {max(widths)} numbers. Give as many for each image, NaN where unknown."
        )
    return targets, tuple(f"value {place}" for place in range(max(widths))) if numbers else ()


def _checked(image: Any, name: str) -> Any:
    if isinstance(image, Image.Image):
        return image
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        raise DataError(
            f"image {quoted(name)} has its channels first ({array.shape}). Give [height, width, 3]: image.transpose(1, 2, 0)."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)) or 0 in array.shape:
        raise DataError(f"image {quoted(name)} is an array of shape {array.shape}. Give [height, width, 3] or [height, width].")
    if array.dtype != np.uint8:
        advice = "(image * 255).round().astype('uint8')" if array.dtype.kind == "f" else "image.astype('uint8')"
        raise DataError(
            f"image {quoted(name)} holds {array.dtype}, not whole numbers from 0 to 255 (uint8). Give {advice} if that fits."
        )
    return array


def _named_part(name: str | None) -> Part | None:
    part = part_of(name) if name else None
    if name and part is None:
        raise unknown_name("part", name, ("train", "valid", "test"))
    return part


KINDS = MappingProxyType({"image": Kind(_checked, show), "text": Kind(_text), "array": Kind(_row)})
