"""The label file: corrections and additions to a data set as rows of a table, applied to the list of images and to no file.

CSV with the columns path,label,action,part,reason. `relabel`: the image now has that label; several are divided by ";", and
where there is a column for each, so are its cells. `drop`: it is left out. `move`: it belongs to that part (train, valid, test).
`add`: a further image with a label, and a part if one is named. `reason` is for people; `part` says nothing in rows that relabel
or drop.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any

from headstart.core import Dataset, Label, Part, Record, Split
from headstart.data._finder import Finder, identifier_of
from headstart.data._layout import part_of
from headstart.data._paths import AnyPath, absolute, not_there
from headstart.data.labels import tidy
from headstart.errors import BadTable, DataError, unknown_name
from headstart.modalities import _cells
from headstart.modalities._csv import read_grid
from headstart.modalities._scan import counted, quoted

ACTIONS = ("relabel", "drop", "move", "add")
COLUMNS = ("path", "label", "action", "part", "reason")
BETWEEN = ";"
"""Stands between several labels of one example."""
TOGETHER = ({"relabel", "move"},)
"""Actions that one image may have at once."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One row of a label file; `place` is where it stands, for messages."""

    path: str
    action: str
    label: str | None = None
    part: Part | None = None
    place: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is a suggestion (`headstart suggest`) that nobody has labelled yet."""
        return self.action == "add" and self.label is None


def apply_labels(dataset: Dataset, file: AnyPath) -> Dataset:
    """The data set as the label file says, with a note on what was applied; neither the file nor an image is touched.

    Raises:
        BadTable: no such table, a column or a label is missing, or two rows contradict each other.
        UnknownName: an action or part that does not exist.
        DataError: a path that is not in the data.
    """
    return apply(dataset, read_fixes(file))


def apply(dataset: Dataset, fixes: Sequence[Fix]) -> Dataset:
    """The data set with the fixes applied; `origin` remembers them, so that the data can be opened again as it is now."""
    waiting, fixes = [fix for fix in fixes if fix.waits], [fix for fix in fixes if not fix.waits]
    records = {record.id: record for record in dataset.records}
    ids = _names(dataset)
    meant = [(_added(fix, dataset, ids) if fix.action == "add" else records[_found(fix, dataset, ids)], fix) for fix in fixes]
    _require_agreement([(record.id, fix) for record, fix in meant])
    placed = dict(dataset.placed)
    for record, fix in meant:
        known = records.get(record.id, record)
        # beware: a dropped image stays in the list, without a label, so that the pixels and features in the cache still fit
        targets = {"move": known.target, "drop": None}
        target = targets[fix.action] if fix.action in targets else _target(fix, dataset)
        records[record.id] = replace(known, target=target)
        if fix.part is not None:
            placed[record.id] = fix.part
    new, gone = _changed_names(dataset, records.values())
    # beware: as written, a path may be one inside the folder where one works just now
    lasting = [replace(fix, path=record.id) for record, fix in meant]
    rows = [{name: value for name, value in asdict(fix).items() if value} for fix in lasting]
    return replace(
        dataset,
        records=tuple(records.values()),
        placed=placed,
        origin={**dataset.origin, "fixes": [*dataset.origin.get("fixes", ()), rows]},
        notes=(*dataset.notes, *_told(fixes, new, gone), *_told_waiting(waiting)),
    )


def _changed_names(dataset: Dataset, records: Iterable[Record]) -> tuple[list[str], list[str]]:
    """The labels that the data did not have and those that it no longer has, where labels are names: a measurement is always new."""
    before, after = (_names_of(some, cells=bool(dataset.columns)) for some in (dataset.records, records))
    if _cells.are_measured([*before, *after]):
        return [], []
    return sorted(after - before), sorted(before - after)


def _names_of(records: Iterable[Record], cells: bool) -> set[str]:
    """The different labels; several of one example are names too, unless they are the `cells` of columns of labels."""
    targets = [record.target for record in records]
    several = [target for target in targets if isinstance(target, tuple)]
    return {target for target in targets if isinstance(target, str)} | set().union(*(() if cells else several))


def _target(fix: Fix, dataset: Dataset) -> Label:
    """The label of the row as the data set has its own: a word, the names of all labels, or a cell for each column of labels.

    Raises:
        BadTable: where it is neither.
    """
    assert fix.label is not None, "only a label can be made a target"
    if not any(isinstance(record.target, tuple) for record in dataset.records):
        return fix.label
    cells = tuple(cell.strip() for cell in fix.label.split(BETWEEN))
    named = tuple(cell for cell in cells if cell)
    if not dataset.columns:
        return tuple(sorted(set(named)))
    if set(named) <= set(dataset.columns):
        return tuple(str(int(name in named)) for name in dataset.columns)
    if len(cells) == len(dataset.columns):
        return cells
    columns, example = ", ".join(map(quoted, dataset.columns[:12])), BETWEEN.join("1" for _ in dataset.columns[:12])
    raise BadTable(
        f"{fix.place} gives the label {quoted(fix.label)}, but this data has {counted(len(dataset.columns), 'column')} of labels ({columns}). "
        f"Write a cell for each, as in {example}, or the names of those that hold, as in {BETWEEN.join(dataset.columns[:2])}."
    )


def from_rows(rows: Sequence[Mapping[str, Any]]) -> list[Fix]:
    """The fixes that `Dataset.origin` remembers."""
    return [Fix(**row) for row in rows]


def apply_again(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> Dataset:
    """The data set with remembered fixes; those of images that are gone are passed over, with a note unless they were dropped."""
    ids, finder = _names(dataset), None if dataset.root is None else Finder(dataset.root)
    held, lost = [], []
    for fix in from_rows(rows):
        there = finder and finder.find(fix.path) if fix.action == "add" else _id_of(fix.path, ids)
        (held if there else lost).append(fix)
    lost = [fix for fix in lost if fix.action != "drop"]
    known = replace(dataset, notes=(*dataset.notes, *_told_lost(lost)))
    return apply(known, held) if held else known


def carried(dataset: Dataset, origin: Mapping[str, Any]) -> Dataset:
    """The data set with the label files that a training of the same data has had, where it has not got them: `origin` is that of its data."""
    earlier, own = list(origin.get("fixes", ())), dataset.origin
    same = all(own.get(key) == origin.get(key) for key in ("kind", "path"))
    if not earlier or not same or list(own.get("fixes", ()))[: len(earlier)] == earlier:
        return dataset
    for rows in earlier:
        dataset = apply_again(dataset, rows)
    return dataset


def _told_lost(lost: Sequence[Fix]) -> tuple[str, ...]:
    if not lost:
        return ()
    images = f"{counted(len(lost), 'image')} that {'is' if len(lost) == 1 else 'are'} gone"
    return (f"The label file of the run names {images} (first: {quoted(lost[0].path)}); its other rows still hold.",)


def read_fixes(file: AnyPath) -> list[Fix]:
    """The rows of a label file, checked one by one.

    Raises:
        BadTable, UnknownName: with the line.
    """
    path = absolute(file)
    if not path.is_file():
        raise not_there(file)
    grid = read_grid(path)
    at = {name.casefold(): index for index, name in enumerate(grid.columns)}
    for name in ("path", "action"):
        if name not in at:
            raise BadTable(
                f'{grid.name} has no column "{name}": it has {", ".join(map(quoted, grid.columns[:12]))}. '
                f"A label file has the columns {','.join(COLUMNS)}, as in: disc/7.png,square,relabel,,was called a disc"
            )
    if not grid.rows:
        raise BadTable(f"{grid.name} has a header and no rows: there is nothing to apply. Leave it out, or name an image in it.")

    def cell(row: Sequence[str], name: str) -> str:
        return row[at[name]] if name in at and at[name] < len(row) else ""

    found = [
        _checked(cell(row, "path"), cell(row, "action"), cell(row, "label"), cell(row, "part"), f"line {line} of {grid.name}")
        for line, row in grid.rows
    ]
    if all(fix.waits for fix in found):
        rows = f"none of the {counted(len(found), 'row')} of {grid.name} has a label yet (the first is {quoted(found[0].path)})"
        raise BadTable(f"{rows}. Write what they show in the column label; rows that stay without are passed over.")
    return found


def _checked(path: str, action: str, label: str, part: str, place: str) -> Fix:
    action = action.casefold()
    if not path:
        raise BadTable(f"{place} names no path.")
    if action not in ACTIONS:
        raise unknown_name("action", action, ACTIONS, f" ({place})")
    tidied, named = tidy(label), part_of(part) if part else None
    if action == "relabel" and tidied is None:
        raise BadTable(f"{place} says {action} for {quoted(path)}, but no label. Write it in the column label.")
    if action in ("move", "add") and part and named is None:
        raise unknown_name("part", part, ("train", "valid", "test"), f" ({place})")
    if action == "move" and named is None:
        raise BadTable(f"{place} moves {quoted(path)}, but says not where to. Write train, valid or test in the column part.")
    kept = tidied if action in ("relabel", "add") else None
    return Fix(path, action, kept, named if action in ("move", "add") else None, place)


def _require_agreement(fixes: Sequence[tuple[str, Fix]]) -> None:
    """Raises `BadTable` when an image (by id) is to be two things at once; a row that only repeats another is none."""
    first: dict[str, list[Fix]] = defaultdict(list)
    for name, fix in fixes:
        for other in first[name]:
            same = (other.action, other.label, other.part) == (fix.action, fix.label, fix.part)
            if not same and {other.action, fix.action} not in TOGETHER:
                raise BadTable(
                    f"{quoted(name)} is given twice, and the two rows exclude each other: {_in_words(other)} ({other.place}), "
                    f"{_in_words(fix)} ({fix.place}). Keep one of them."
                )
        first[name].append(fix)


def _in_words(fix: Fix) -> str:
    return " ".join(filter(None, (fix.action, fix.label and quoted(fix.label), fix.part)))


def _names(dataset: Dataset) -> dict[str, str]:
    """The id of each image by its id and by its whole path."""
    whole = {record.source: record.id for record in dataset.records if isinstance(record.source, str)}
    return whole | {record.id: record.id for record in dataset.records}


def _plain(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")


def _id_of(path: str, ids: Mapping[str, str]) -> str | None:
    """The id of the image that a path means: inside the data, whole, or from where one works; None when it is not in the data."""
    return next((ids[name] for name in (path, _plain(path), str(absolute(path))) if name in ids), None)


def _found(fix: Fix, dataset: Dataset, ids: Mapping[str, str]) -> str:
    """The id of the image that the row names, by its path inside the data or its whole path."""
    if found := _id_of(fix.path, ids):
        return found
    plain = _plain(fix.path)
    names = [record.id for record in dataset.records]
    near = get_close_matches(plain, names, n=2, cutoff=0.6)
    near = near or [name for name in names if name.rpartition("/")[2] == plain.rpartition("/")[2]][:2]
    hint = f" Did you mean {' or '.join(map(quoted, near))}?" if near else f" Its images are named as {quoted(names[0])}."
    raise DataError(
        f"{fix.place}: {quoted(fix.path)} is not among the {counted(len(names), 'image')} of {quoted(dataset.name)}.{hint} "
        "Paths are those inside the data folder, or whole; an image that is new takes the action add."
    )


def _added(fix: Fix, dataset: Dataset, ids: Mapping[str, str]) -> Record:
    if dataset.root is None or dataset.arrays is not None:
        raise DataError(f"{fix.place} adds a file, but {quoted(dataset.name)} was made from arrays in memory. Add it there.")
    path = Finder(dataset.root).find(fix.path)
    if path is None:
        raise DataError(
            f"{fix.place} adds {quoted(fix.path)}, but there is no such file (looked for from {quoted(dataset.root)} on). "
            "Give its path inside the data folder, or its whole path."
        )
    if path in ids:
        raise DataError(f"{fix.place} adds {quoted(fix.path)}, which is in the data already. To change its label: relabel.")
    return Record(identifier_of(path, dataset.root), path, fix.label)


def _told(fixes: Sequence[Fix], new: Sequence[str], gone: Sequence[str]) -> list[str]:
    """What was applied, in sentences."""
    done: Mapping[str, Callable[[int], str]] = {
        "relabel": lambda n: f"{counted(n, 'image')} relabelled",
        "drop": lambda n: f"{n:,} left out",
        "move": lambda n: f"{n:,} moved to another part",
        "add": lambda n: f"{n:,} added",
    }
    tally = Counter(fix.action for fix in dict.fromkeys(replace(fix, place="") for fix in fixes))
    notes = [f"The label file says: {', '.join(done[action](tally[action]) for action in ACTIONS if tally[action])}."]
    if new:
        notes.append(
            f"It names {counted(len(new), 'class', 'classes')} that the data did not have: {', '.join(map(quoted, new))}."
        )
    if gone:
        notes.append(f"It leaves no image of {', '.join(map(quoted, gone))}.")
    return notes


def _told_waiting(waiting: Sequence[Fix]) -> list[str]:
    if not waiting:
        return []
    return [
        f"{counted(len(waiting), 'row')} of the label file without a label yet: passed over (first: {quoted(waiting[0].path)})."
    ]


def on_judges(dataset: Dataset, split: Split, before: Mapping[str, Part]) -> list[str]:
    """A sentence when fixes touch images that choose the kept row or judge it: figures from before do not compare.

    Args:
        before: the part of each image in the training that this one starts from, if there is one.
    """
    names = _names(dataset)
    judges: tuple[Part, ...] = ("valid", "test")
    parts: dict[str, Part] = {name: part for part in judges for name in getattr(split, part)}
    tally: Counter[tuple[str, str]] = Counter()
    for fix in from_rows([row for rows in dataset.origin.get("fixes", ()) for row in rows]):
        name = _id_of(fix.path, names) or fix.path
        was, now = before.get(name), parts.get(name)
        if fix.action == "move" and was in ("valid", "test") and now != was:
            tally[was, "moved away"] += 1
        elif now is not None:
            tally[now, {"relabel": "relabelled", "add": "added", "move": "moved there"}.get(fix.action, fix.action)] += 1
        elif fix.action == "drop" and was in ("valid", "test"):
            tally[was, "left out"] += 1
    return [
        f"The label file changes the {part} part: "
        + ", ".join(f"{n:,} {what}" for (where, what), n in tally.items() if where == part)
        + ". Figures on it from before do not compare."
        for part in ("valid", "test")
        if any(where == part for where, _ in tally)
    ]
