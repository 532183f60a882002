"""What a table's columns say, whatever its rows describe: labels, groups and parts, by their usual names; rows that were left out."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from headstart.core import Label, Part
from headstart.data._layout import part_of
from headstart.data.labels import tidy
from headstart.errors import BadTable, unknown_name
from headstart.modalities._cells import NO, YES
from headstart.modalities._csv import Grid
from headstart.modalities._scan import counted, quoted

_USUAL = {
    "image": "image path file filename filepath image_path file_path image_name img img_path image_id file_name name id",
    "label": "label class category target class_name label_name y labels species breed diagnosis",
    "group": "group group_id",
    "part": "part split subset partition set",
    "subject": "patient patient_id subject subject_id person person_id individual individual_id animal_id specimen specimen_id",
}
IMAGE, LABEL, GROUP, PART, SUBJECTS = (tuple(names.split()) for names in _USUAL.values())
_IS_PART: dict[str, Part] = {
    "is_valid": "valid",
    "is_validation": "valid",
    "is_val": "valid",
    "valid": "valid",
    "is_test": "test",
}


@dataclass(slots=True)
class Losses:
    """Rows that were left out, by reason, each with its line and what it says."""

    rows: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, line: int, text: str) -> None:
        self.rows[reason].append((line, text))

    def sentences(self) -> list[str]:
        return [
            f"Left out {counted(len(rows), 'row')} {reason} (first: {_where(*rows[0])})." for reason, rows in self.rows.items()
        ]


def _where(line: int, text: str) -> str:
    return f"line {line}, {quoted(text)}" if text else f"line {line}"


def columns_in_words(columns: Sequence[str]) -> str:
    return f"{counted(len(columns), 'column')} ({', '.join(columns[:12])}{', ...' if len(columns) > 12 else ''})"


def column_named(grid: Grid, name: str) -> int:
    for at, column in enumerate(grid.columns):
        if column == name or column.casefold() == name.strip().casefold():
            return at
    raise unknown_name("column", name, grid.columns, f" in {grid.name}")


def columns_asked(label: str | Sequence[str] | None) -> Sequence[str]:
    return () if label is None else (label,) if isinstance(label, str) else label


def divides(grid: Grid, at: int) -> bool:
    """Whether a column says train, valid or test: by its name, and, where that has other meanings, because one of its cells does."""
    name = grid.columns[at].casefold()
    if name.startswith("is_") and name in _IS_PART:
        return any(grid.column(at))
    flags = YES | NO if name in _IS_PART else frozenset()
    return (name in PART or name in _IS_PART) and any(part_of(cell) or cell.casefold() in flags for cell in grid.column(at))


def cell_at(row: Sequence[str], at: int) -> str:
    return row[at] if at < len(row) else ""


def label_at(row: Sequence[str], columns: Sequence[int]) -> Label | None:
    """The label of a row, a text for each of several columns; None where there is none in any of them."""
    cells = [tidy(cell_at(row, at)) for at in columns]
    cells = ["" if cell is None or cell.casefold() == "nan" else cell for cell in cells]
    if not any(cells):
        return None
    return cells[0] if len(columns) == 1 else tuple(cells)


def part_at(grid: Grid, cells: Sequence[tuple[str, str]], line: int) -> Part | None:
    """The part that a row is given; an empty cell gives none. `is_valid` is train where it is false, as in fastai."""
    part: Part | None = None
    for column, text in cells:
        flag = _IS_PART.get(column.casefold())
        if flag and text.casefold() in YES:
            return flag
        if flag and text.casefold() in NO:
            part = part or ("train" if flag == "valid" else None)
        elif (named := part_of(text)) is not None:
            part = named
        elif text:
            known = "true or false" if flag else "train, valid, test"
            raise BadTable(f"line {line} of {grid.name} has {quoted(text)} in the column {quoted(column)}, which takes {known}.")
    return part
