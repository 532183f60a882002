"""Rows of Hugging Face's `datasets` as a data set. The only importer of datasets."""

from collections.abc import Mapping, Sequence
from os import fspath
from pathlib import Path
from typing import Any

from headstart import plugins
from headstart.core import Dataset, Label, Part, Record
from headstart.data._assemble import assemble, describe_call
from headstart.data._columns import LABEL
from headstart.data._layout import part_of
from headstart.data.labels import tidy
from headstart.data.sheet import show
from headstart.data.split import check_shares
from headstart.errors import BadSetting, BadTable, DataError, unknown_name
from headstart.modalities._cells import TEXT
from headstart.modalities._scan import clean, counted, quoted

IMAGE = ("image", "img", "picture", "pixel_values", "file")
SEVERAL = ("labels", "tags", "categories")


class Column(Sequence[Any]):
    """The cells of a column, each read when it is asked for."""

    def __init__(self, tables: Sequence[Any], name: str) -> None:
        self._tables, self._name = tables, name
        self._starts = [sum(map(len, tables[:place])) for place in range(len(tables))]

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        place = max(place for place, start in enumerate(self._starts) if start <= index)
        return self._tables[place][index - self._starts[place]][self._name]


def from_huggingface(
    rows: Any,
    example_column: str | None = None,
    label_column: str | None = None,
    name: str | None = None,
    valid: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """A data set of the rows of Hugging Face's `datasets`: images or texts with a class, several labels, or a number each.

    Args:
        rows: a `datasets.Dataset`; a `datasets.DatasetDict`, whose parts (train, validation, test) divide the data; the folder that
            one of them was saved to; or a name on the hub.
        example_column: the column of images or texts; by default one with a usual name (image, text, sentence).
        label_column: the column of labels; by default one with a usual name (label, labels). The names of a `ClassLabel` are kept.
        name: what the data is called; by default as it was given.

    Raises:
        MissingExtra: for a folder or a name, without the package datasets.
        UnknownName: a column that does not exist, with the nearest names.
        BadTable: no column could be images or texts, or labels.
    """
    check_shares(valid, test)
    given, called = rows, name or "rows"
    if isinstance(rows, str | Path):
        rows, called = _loaded(fspath(rows)), name or Path(fspath(rows)).name
    tables = dict(rows) if isinstance(rows, Mapping) else {"": rows}
    if not tables or not any(map(len, tables.values())):
        raise DataError(f"{quoted(called)} has no rows.")
    there = list(next(iter(tables.values())).column_names)
    example = _column(there, example_column, (*IMAGE, *TEXT), "images or texts", "example_column", called)
    label = _column(
        [each for each in there if each != example], label_column, (*LABEL, *SEVERAL), "labels", "label_column", called
    )
    modality = _modality_of(next(iter(tables.values()))[0][example], example, called)
    records, lost = _records(tables, label)
    if not records:
        raise BadTable(f"no row of {quoted(called)} has a label in the column {quoted(label)}.")
    notes = [f"Read the column {quoted(example)} as the {modality} and {quoted(label)} as the label."]
    notes += [f"Left out {counted(lost, 'row')} without a label."] if lost else []
    origin = describe_call("from_arrays", valid, test, seed)
    if isinstance(given, str | Path):
        asked = {"example_column": example_column, "label_column": label_column, "name": name}
        origin = describe_call("from_huggingface", valid, test, seed, path=fspath(given), **asked)
    columns = (label,) if isinstance(records[0].target, str) else ()
    viewer = show if modality == "image" else None
    return assemble(
        called, records, None, notes, origin, Column(list(tables.values()), example), columns, modality, viewer=viewer
    )


def _modality_of(first: Any, column: str, called: str) -> str:
    if isinstance(first, str):
        return "text"
    if hasattr(first, "convert") or hasattr(first, "shape"):
        return "image"
    raise BadTable(
        f"the column {quoted(column)} of {quoted(called)} holds a {type(first).__name__}, neither an image nor a text."
    )


def _records(tables: Mapping[str, Any], label: str) -> tuple[list[Record], int]:
    """A record for each row with a label, by the names of the parts, and how many rows have none."""
    records: list[Record] = []
    place = 0
    for key, table in tables.items():
        part, names = _part(key), _names(table, label)
        width = max(6, len(str(len(table))))
        for number, raw in enumerate(table[label]):
            target = _target(raw, names)
            if target is not None:
                identifier = f"{key}/{number:0{width}d}" if key else f"{number:0{width}d}"
                records.append(Record(clean(identifier), place, target, None, part))
            place += 1
    return records, place - len(records)


def opened_again(path: str, group_by: None = None, **settings: Any) -> Dataset:
    """The data set of the rows at a path or name that it was made from before."""
    return from_huggingface(path, **settings)


def _loaded(given: str) -> Any:
    datasets = plugins.require("datasets", "data", "reading rows of Hugging Face")
    try:
        if Path(given).expanduser().is_dir():
            return datasets.load_from_disk(str(Path(given).expanduser()))
        return datasets.load_dataset(given)
    except Exception as error:
        # beware: what a hub, a script or a cache may raise is not to be listed
        raise DataError(
            f"{quoted(given)} could not be loaded: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error


def _column(columns: Sequence[str], asked: str | None, usual: Sequence[str], what: str, setting: str, called: str) -> str:
    if asked is not None:
        if asked not in columns:
            raise unknown_name("column", asked, columns, f" in {quoted(called)}")
        return asked
    folded = {column.casefold(): column for column in columns}
    found = next((folded[name] for name in usual if name in folded), None)
    if found is None:
        some = ", ".join(map(quoted, columns[:12]))
        raise BadTable(f"{quoted(called)} has the columns {some}: which one holds the {what}? Give {setting}=...")
    return found


def _part(key: str) -> Part | None:
    if not key:
        return None
    part = part_of(key)
    if part is None:
        raise BadSetting(
            f"the part {quoted(key)} is neither train, validation nor test. Give the rows of one part, or rename it."
        )
    return part


def _names(table: Any, label: str) -> Sequence[str] | None:
    """The names of the classes, where the column has them."""
    feature = table.features.get(label)
    return getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)


def _target(raw: Any, names: Sequence[str] | None) -> Label | None:
    """A raw label: the name of a class (none where its number is negative, as in hidden test parts), names of labels, a number."""
    if isinstance(raw, list | tuple):
        return tuple(sorted(filter(None, (_word(each, names) for each in raw))))
    return _word(raw, names)


def _word(raw: Any, names: Sequence[str] | None) -> str | None:
    if names is None or raw is None or isinstance(raw, str):
        return tidy(raw)
    return None if int(raw) < 0 else tidy(names[int(raw)])
