"""Plain numbers: each example is a row of them. A number that is not known is NaN, and stays one until the backbone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from headstart.core import InputWords, Named, Predictive
from headstart.errors import DataError
from headstart.modalities import _cells
from headstart.modalities._csv import read_grid
from headstart.modalities._scan import TABLE_SUFFIXES, clean, counted, quoted
from headstart.modalities._single import Single, one_view


@dataclass(frozen=True, slots=True)
class Arrays(Single):
    """The modality: a row of as many numbers as there are `names`, in their order."""

    names: tuple[str, ...]

    name = "array"
    blends = False
    """A number that is missing from one of two examples would be missing from their mixture."""
    copies = False
    """Two equal rows are two observations."""

    @property
    def size(self) -> int:
        return len(self.names)

    @property
    def words(self) -> InputWords:
        some = ", ".join(map(quoted, self.names[:12])) + (", ..." if len(self.names) > 12 else "")
        described = (
            f"{counted(len(self.names), 'number')} ({some}), each less the mean of the training examples, by their deviation"
        )
        size = counted(len(self.names), "number")
        return InputWords("example", "examples", size, described, "tabular", "[1.0, 2.0, ...]", "table.csv")

    def to_input(self, stored: Float32[Any, "batch numbers"]) -> Float32[Any, "batch numbers"]:
        return stored

    def named(self, inputs: Any) -> Iterator[Named]:
        """Each row: of a list or array of rows, of a table (its columns by name, or a .csv file), or the one row given."""
        if files := _files(inputs):
            for file in files:
                yield from self._rows_of_file(file)
            return
        if isinstance(inputs, Mapping):
            columns = [np.atleast_1d(np.asarray(inputs[name], dtype=object)) for name in self._columns(inputs)]
            inputs = [list(row) for row in zip(*columns, strict=True)]
        for place, row in enumerate([inputs] if self.is_one(inputs) else inputs):
            yield Named(f"{place:06d}", row)

    def _rows_of_file(self, file: Path) -> Iterator[Named]:
        """The rows of a table; its name and their lines are their ids."""
        grid = read_grid(file)
        missing = [name for name in self.names if name not in grid.columns]
        if missing:
            yield Named(clean(str(file)), None, f"the table has no column {quoted(missing[0])}, which the model takes.")
            return
        places = [grid.columns.index(name) for name in self.names]
        for line, row in grid.rows:
            yield Named(f"{clean(str(file))}:{line}", [_number(row[at]) if at < len(row) else None for at in places])

    def is_one(self, inputs: Any) -> bool:
        """Whether it is a single row."""
        if isinstance(inputs, np.ndarray):
            return inputs.ndim == 1
        several = (list, tuple, np.ndarray, str, Path)
        return isinstance(inputs, list | tuple) and not any(isinstance(each, several) for each in inputs[:1])

    def _columns(self, table: Mapping[str, Any]) -> tuple[str, ...]:
        missing = [name for name in self.names if name not in table]
        if missing:
            raise DataError(
                f"the table has no column {quoted(missing[0])}: the model takes {', '.join(map(quoted, self.names[:12]))}."
            )
        return self.names

    def prepared(self, source: Any, name: str = "") -> Float32[np.ndarray, " numbers"]:
        """The row as numbers.

        Raises:
            DataError: for a row of another length, something that is no number, or no number at all.
        """
        if isinstance(source, str | Path):
            some = f"a row of {counted(len(self.names), 'number')}, or a table that is there (.csv, .tsv)"
            raise DataError(f"{quoted(str(source)[:80])} is a word and no row of numbers. Give {some}.")
        try:
            row = np.asarray([np.nan if value is None else value for value in source], np.float64)
        except (TypeError, ValueError):
            raise DataError(f"{quoted(name)} is no row of numbers: {str(source)[:80]}. Give {len(self.names)} numbers.") from None
        if row.ndim != 1 or len(row) != len(self.names):
            raise DataError(f"{quoted(name)} has {row.size} numbers, and the model takes {len(self.names)}: one for each name.")
        far = np.abs(row) > np.finfo(np.float32).max
        if far.any():
            which, value = quoted(self.names[int(np.argmax(far))]), row[np.argmax(far)]
            what = "an infinite number" if np.isinf(value) else f"{value:.3g}, more than a float32 holds,"
            raise NotFinite(f"{quoted(name)} has {what} in {which}. Give a number, or NaN where none is known.")
        if len(row) and np.isnan(row).all():
            raise NotFinite(f"{quoted(name)} has no number at all. Leave it out, or give the numbers that are known.")
        return row.astype(np.float32)

    def stacked(self, examples: Sequence[Float32[np.ndarray, " numbers"]]) -> Float32[np.ndarray, "batch numbers"]:
        return np.stack(examples) if len(examples) else np.empty((0, len(self.names)), np.float32)

    def remarks(self, source: Any, example: Float32[np.ndarray, " numbers"]) -> tuple[str, ...]:
        return ("missing_numbers",) if np.isnan(example).any() else ()

    def viewed(self, model: Predictive, task: Any, augment: str, count: int) -> tuple[Predictive, Any]:
        return one_view(model, self, count)

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "names": list(self.names)}


def _files(inputs: Any) -> list[Path]:
    """The tables among the inputs, where they are nothing else."""
    given = inputs if isinstance(inputs, list | tuple) else [inputs]
    named = [Path(each) for each in given if isinstance(each, str | Path)]
    return named if len(named) == len(given) and all(path.suffix.lower() in TABLE_SUFFIXES for path in named) else []


def _number(cell: str) -> float | str | None:
    """The number in a cell, None where nobody knows; a word stays what it is, to be told."""
    if _cells.is_unknown(cell):
        return None
    found = _cells.number(cell)
    return cell if found is None else found


class NotFinite(DataError):
    """A row that cannot be used for what is in it."""

    reason = "not_finite"


def plain(inputs: Sequence[str] = ()) -> Arrays:
    """For a look at rows of the numbers with these names, without a model."""
    return Arrays(tuple(inputs))
