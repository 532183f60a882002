"""A CSV or TSV file as columns and rows: the delimiter and the encoding are found out, not asked for."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from headstart.errors import BadTable
from headstart.modalities._scan import counted, quoted

_DELIMITERS = ("\t", ",", ";", "|", " ")
_BINARY = {
    b"PK\x03\x04": "an Excel or OpenDocument workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "a Parquet file",
}


@dataclass(frozen=True, slots=True)
class Grid:
    """The header and the rows below it, each with its line number in the file. Cells have no spaces around them."""

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return quoted(self.path.name)

    def column(self, index: int) -> list[str]:
        """The cells of one column; short rows give ""."""
        return [row[index] if index < len(row) else "" for _, row in self.rows]

    def without_header(self) -> "Grid":
        """The same grid when its first line is data already: columns are called column_1, column_2, ..."""
        names = tuple(f"column_{number}" for number in range(1, len(self.columns) + 1))
        note = f"The first line of {self.name} names a file, so it was read as data without a header."
        return Grid(self.path, names, [(1, list(self.columns)), *self.rows], (*self.notes, note))


def read_grid(path: Path, most: int | None = None) -> Grid:
    """The table in a file of any usual delimiter (comma, tab, semicolon, bar, else spaces) in UTF-8, UTF-16 or Windows encoding.

    `most` rows of it, for a look.

    Raises:
        BadTable: unreadable, empty, or not a table.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadTable(f"the table {quoted(str(path))} cannot be read: {error.strerror or error}.") from None
    for start, kind in _BINARY.items():
        if data.startswith(start):
            raise BadTable(f"{quoted(path.name)} is {kind}, not a CSV file. Save it as CSV (UTF-8) and give that file.")
    text, notes = _decode(data, path)
    delimiter = _delimiter(text, path.suffix.lower())
    rows = list(islice(_rows(text, delimiter, path), None if most is None else most + 1))
    if not rows:
        raise BadTable(
            f"the table {quoted(path.name)} is empty. It needs a header and a row for each example, as in: image,label"
        )
    return Grid(path, tuple(rows[0][1]), rows[1:], notes)


def usual_column(grid: Grid, usual: Sequence[str], besides: int | Sequence[int] | None = None) -> int | None:
    """The column with the most usual name."""
    taken = besides if isinstance(besides, Sequence) else (besides,)
    folded = [column.casefold().replace(" ", "_").replace("-", "_") for column in grid.columns]
    return next((folded.index(name) for name in usual if name in folded and folded.index(name) not in taken), None)


def _decode(data: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace"), ()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        note = f"{quoted(path.name)} is not UTF-8; it was read as Windows text (cp1252). If names look odd, save it as UTF-8."
        return data.decode("cp1252", "replace"), (note,)
    if "\0" in text:
        raise BadTable(f"{quoted(path.name)} holds bytes that no table has: it is not a CSV file. Save the table as CSV (UTF-8).")
    return text, ()


def _delimiter(text: str, suffix: str) -> str:
    """The delimiter that divides the first lines into equally many columns, and most; in doubt the usual one."""
    usual = "\t" if suffix == ".tsv" else ","

    def score(delimiter: str) -> tuple[bool, bool, int, bool]:
        widths = [len(row) for _, row in zip(range(20), _parse(text[:65536], delimiter), strict=False) if row]
        even = len(set(widths)) == 1 and widths[0] > 1
        return even, delimiter != " ", max(widths[:1], default=0), delimiter == usual

    return max(_DELIMITERS, key=score)


def _parse(text: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        yield from reader
    except csv.Error:
        return


def _never_closed(text: str, delimiter: str) -> bool:
    """Whether the file ends inside a quotation."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        try:
            if next(reader, None) is None:
                return False
        except csv.Error as error:
            if "end of data" in str(error):
                return True


def _rows(text: str, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    line, lines, odd = 1, text.count("\n"), text.count('"') % 2 == 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            ends = odd and reader.line_num > line and reader.line_num >= lines
            if ends and _never_closed(text, delimiter):  # beware: csv ends a quote at the end of the file in silence
                raise BadTable(
                    f"line {line} of {quoted(path.name)} opens a quotation mark that is never closed, so that the "
                    f"{counted(reader.line_num - line, 'line')} after it would be one cell. Close it, or leave it out."
                )
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        advice = "A quotation mark that is never closed does this."
        raise BadTable(f"line {line} of {quoted(path.name)} cannot be read ({error}). {advice}") from None
