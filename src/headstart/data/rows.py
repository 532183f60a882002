"""Records from a table whose rows are the examples themselves: a text in each, or numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import fspath
from pathlib import Path
from typing import Any

from headstart.core import Dataset, Record
from headstart.data._assemble import assemble, describe_call
from headstart.data._columns import (
    GROUP,
    IMAGE,
    LABEL,
    Losses,
    cell_at,
    column_named,
    columns_asked,
    columns_in_words,
    divides,
    label_at,
    part_at,
)
from headstart.data._paths import AnyPath, absolute, not_there
from headstart.data.labels import tidy
from headstart.data.split import check_shares
from headstart.errors import BadTable, DataError
from headstart.modalities import _cells
from headstart.modalities._csv import Grid, read_grid, usual_column
from headstart.modalities._scan import counted, quoted

Cell = tuple[int, str, float | None]
"""The line of a cell, what it says, and the number that it says."""
LOOKED_AT = 1000
"""Rows by which it is told what a table holds, before it is read."""
NUMBERING = frozenset({"id", "index", "row", "row_id", "unnamed: 0", ""})
"""Names of columns that say nothing of an example."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What the columns of a grid (by position) say beside the examples."""

    labels: tuple[int, ...]
    group: int | None
    parts: tuple[int, ...]

    @property
    def taken(self) -> tuple[int, ...]:
        """All of them."""
        return (*self.labels, *self.parts, *(() if self.group is None else (self.group,)))


def text_csv(
    path: AnyPath,
    text_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    valid: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    group_by: str | None = None,
) -> Dataset:
    """The texts in a CSV or TSV file with their labels; columns are recognised by their usual names (text, sentence; label).

    A column is_valid (true, false) or part (train, valid, test) divides the data; a column group keeps texts together. Rows
    without a label are left out and counted in the notes. The id of a text is the number of its row, from 0.

    Args:
        label_column: one, or several for examples with several labels (1 or 0 in each) or numbers.
        group_by: the name of a column.

    Raises:
        BadTable: no such table, or no row of it can be used.
        UnknownName: a column that does not exist, with the nearest names.
    """
    check_shares(valid, test)
    table = _table(path)
    grid = read_grid(table)
    text = column_named(grid, text_column) if text_column else usual_column(grid, _cells.TEXT)
    if text is None:
        raise BadTable(
            f"{grid.name} has {columns_in_words(grid.columns)}: which one holds the texts? None is called text or sentence. "
            "Give text_column=... (--text-column)."
        )
    roles = _roles(grid, label_column, group_by, {text})
    told = f"Read the column {quoted(grid.columns[text])} as the text and {_labels_in_words(grid, roles)}."
    found = _Found(roles, lambda row: cell_at(row, text), () if text_column else (told,))
    origin = describe_call("text_csv", valid, test, seed, path=str(table), group_by=group_by, text_column=text_column)
    return _assembled(grid, found, origin, label_column, "text")


def array_csv(
    path: AnyPath,
    label_column: str | Sequence[str] | None = None,
    input_columns: Sequence[str] | None = None,
    valid: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    group_by: str | None = None,
) -> Dataset:
    """The rows of numbers in a CSV or TSV file with their labels: every column of numbers that is no label is an input.

    Empty cells (and nan, na, ?) are numbers that nobody knows. Columns of words are left out, with a note. Else as `text_csv`.

    Args:
        input_columns: the columns to take; all of numbers when None.

    Raises:
        BadTable: no such table, no column of numbers, or a word in a column that was asked for.
        UnknownName: a column that does not exist, with the nearest names.
    """
    check_shares(valid, test)
    table = _table(path)
    grid = read_grid(table)
    roles = _roles(grid, label_column, group_by, set())
    inputs, told = _inputs(grid, roles, input_columns)
    told = (f"Read {counted(len(inputs), 'column')} of numbers as the input and {_labels_in_words(grid, roles)}.", *told)
    found = _Found(
        roles, lambda row: [_number(cell_at(row, at)) for at in inputs], told, tuple(grid.columns[at] for at in inputs)
    )
    asked = None if input_columns is None else list(input_columns)
    origin = describe_call("array_csv", valid, test, seed, path=str(table), group_by=group_by, input_columns=asked)
    return _assembled(grid, found, origin, label_column, "array")


def _inputs(grid: Grid, roles: Roles, asked: Sequence[str] | None) -> tuple[list[int], list[str]]:
    """The columns of numbers, those asked for or all that say something of an example, and what to say of the others."""
    free = [at for at in range(len(grid.columns)) if at not in roles.taken]
    numbering = [at for at in free if grid.columns[at].casefold() in NUMBERING]
    wanted = [at for at in free if at not in numbering] if asked is None else [column_named(grid, name) for name in asked]
    said = {at: _said(grid, at) for at in wanted}
    inputs = [at for at in wanted if _are_numbers(said[at])]
    others = [at for at in wanted if at not in inputs]
    if asked is not None and others:
        raise _no_number(grid, others[0])
    if not inputs:
        raise BadTable(f"{grid.name} has {columns_in_words(grid.columns)}: none beside the label holds numbers to learn from.")
    told = []
    if asked is None and numbering:
        first = quoted(grid.columns[numbering[0]])
        told.append(f"Left out the column {first}, which numbers the rows (input_columns=... takes it).")
    mixed = [at for at in others if 2 * len(_words(said[at])) <= len(said[at]) > 0]
    words = [at for at in others if at not in mixed]
    if words:
        names = ", ".join(quoted(grid.columns[at]) for at in words[:8])
        told.append(f"Left out {counted(len(words), 'column')} of words: {names}.")
    return inputs, [*told, *(_mixed_in_words(grid.columns[at], said[at]) for at in mixed)]


def _mixed_in_words(column: str, cells: Sequence[Cell]) -> str:
    words = _words(cells)
    return (
        f"Left out the column {quoted(column)}, though {len(cells) - len(words):,} of its {counted(len(cells), 'cell')} are numbers: "
        f"line {words[0][0]} has {quoted(words[0][1])}. Write a number there, or nothing where nobody knows."
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found in the columns of a grid: what they say, how an example is read from a row, sentences, names of numbers."""

    roles: Roles
    read: Callable[[Sequence[str]], Any]
    told: Sequence[str]
    inputs: tuple[str, ...] = ()


def _assembled(
    grid: Grid, found: _Found, origin: dict[str, Any], label_column: str | Sequence[str] | None, modality: str
) -> Dataset:
    """The data set of the rows with a label."""
    records, arrays, losses = _records(grid, found.roles, found.read)
    asked = label_column if label_column is None or isinstance(label_column, str) else list(label_column)
    return assemble(
        grid.path.stem,
        records,
        str(grid.path.parent),
        [*grid.notes, *found.told, *losses.sentences()],
        {**origin, "label_column": asked},
        arrays,
        tuple(grid.columns[at] for at in found.roles.labels),
        modality,
        found.inputs,
        viewer=None,
    )


def kind_of(path: Path, image_column: str | None, text_column: str | None, label_column: str | Sequence[str] | None) -> str:
    """Of what kind the rows of a table are, by their columns: "text", "array", or "image" where nothing says otherwise."""
    if text_column is not None:
        return "text"
    if image_column is not None:
        return "image"
    grid = read_grid(path, LOOKED_AT)
    labels = {column_named(grid, name) for name in columns_asked(label_column) if name.casefold() in _folded(grid)}
    if usual_column(grid, _cells.TEXT, tuple(labels)) is not None:
        return "text"
    usual = usual_column(grid, LABEL)
    labels = labels or (set() if usual is None else {usual})
    named = usual_column(grid, IMAGE, tuple(labels))
    others = [at for at in range(len(grid.columns)) if at not in labels and not divides(grid, at) and at != named]
    if named is not None and not _is_numeric(grid, named):
        return "image"
    numbers = [_is_numeric(grid, at) for at in others]
    # without a label all must be numbers: else one of them may name files under an unusual name
    return "array" if others and (any(numbers) if labels else all(numbers)) else "image"


def _folded(grid: Grid) -> set[str]:
    return {name.casefold() for name in grid.columns}


def _table(path: AnyPath) -> Path:
    table = absolute(path)
    if table.is_dir():
        raise DataError(f"{quoted(fspath(path))} is a folder, not a table. Use image_folder.")
    if not table.is_file():
        raise not_there(path)
    return table


def _roles(grid: Grid, label: str | Sequence[str] | None, group: str | None, examples: set[int]) -> Roles:
    """The columns of labels, groups and parts, by the names given, else by their usual names."""
    named = tuple(dict.fromkeys(column_named(grid, each) for each in columns_asked(label)))
    usual = usual_column(grid, LABEL, tuple(examples))
    labels = named or (() if usual is None else (usual,))
    group_at = column_named(grid, group) if group else usual_column(grid, GROUP, (*labels, *examples))
    parts = tuple(at for at in range(len(grid.columns)) if at not in (*examples, *labels, group_at) and divides(grid, at))
    if not labels:
        left = [at for at in range(len(grid.columns)) if at not in (*examples, group_at, *parts)]
        if len(left) != 1 or not examples:
            raise BadTable(
                f"{grid.name} has {columns_in_words(grid.columns)}: which one is the label? None is called label, class or "
                "target. Give label_column=... (--label-column)."
            )
        labels = (left[0],)
    if examples & set(labels):
        raise BadTable(f"the column {quoted(grid.columns[labels[0]])} of {grid.name} cannot be both the example and its label.")
    return Roles(labels, group_at, parts)


def _records(grid: Grid, roles: Roles, read: Callable[[Sequence[str]], Any]) -> tuple[list[Record], list[Any], Losses]:
    """A record for each row with a label, the examples they are, and what was left out."""
    records, arrays, losses = [], [], Losses()
    width = max(6, len(str(len(grid.rows))))
    for place, (line, row) in enumerate(grid.rows):
        label = label_at(row, roles.labels)
        if label is None:
            losses.add("without a label", line, "")
            continue
        group = tidy(cell_at(row, roles.group)) if roles.group is not None else None
        part = part_at(grid, [(grid.columns[at], cell_at(row, at)) for at in roles.parts], line)
        records.append(Record(f"{place:0{width}d}", len(arrays), label, group, part))
        arrays.append(read(row))
    if not records:
        raise BadTable(f"{grid.name} leaves no row to use. {' '.join(losses.sentences()) or 'It has a header and no rows.'}")
    return records, arrays, losses


def _labels_in_words(grid: Grid, roles: Roles) -> str:
    names = [grid.columns[at] for at in roles.labels]
    return f"{quoted(names[0])} as the label" if len(names) == 1 else f"{len(names)} columns as labels"


def _is_numeric(grid: Grid, at: int) -> bool:
    """Whether all cells that say something are numbers."""
    return _are_numbers(_said(grid, at))


def _are_numbers(cells: Sequence[Cell]) -> bool:
    return bool(cells) and not _words(cells)


def _words(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell[2] is None]


def _said(grid: Grid, at: int) -> list[Cell]:
    """Of each cell that says something."""
    cells = ((line, cell_at(row, at)) for line, row in grid.rows)
    return [(line, cell, _cells.number(cell)) for line, cell in cells if not _cells.is_unknown(cell)]


def _number(cell: str) -> float:
    found = _cells.number(cell)
    return float("nan") if found is None else found


def _no_number(grid: Grid, at: int) -> BadTable:
    line, cell, _ = _words(_said(grid, at))[0]
    return BadTable(
        f"the column {quoted(grid.columns[at])} of {grid.name} holds words as well as numbers: line {line} has {quoted(cell)}. "
        "Leave the column out, or write a number there (an empty cell where nobody knows)."
    )
