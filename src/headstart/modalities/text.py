"""Texts: each example is the numbers of its tokens. A batch is as long as its longest, with -1 behind the shorter ones."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32

from headstart.core import InputWords, Named, Predictive
from headstart.errors import DataError
from headstart.modalities._cells import TEXT
from headstart.modalities._csv import read_grid, usual_column
from headstart.modalities._scan import IMAGE_SUFFIXES, TABLE_SUFFIXES, clean, quoted
from headstart.modalities._single import Single, one_view

PADDING = -1
"""Stands where a text has ended."""


@runtime_checkable
class Tokenizer(Protocol):
    """What cuts a text into tokens."""

    def tokens(self, text: str) -> list[int]:
        """The numbers of all its tokens, those that mark its ends among them."""
        ...

    def cut(self, tokens: list[int], length: int) -> list[int]:
        """At most `length` of the tokens, the marks at both ends kept."""
        ...


class Words:
    """Counts the words of a text, for a look at texts without a model."""

    def tokens(self, text: str) -> list[int]:
        """A 0 for each word."""
        return [0] * len(text.split())

    def cut(self, tokens: list[int], length: int) -> list[int]:
        """The first of them."""
        return tokens[:length]


@dataclass(frozen=True, slots=True)
class Texts(Single):
    """The modality: at most `length` tokens of each text, made by the tokenizer of the backbone called `tokenized_by`."""

    tokenizer: Tokenizer
    length: int
    tokenized_by: str

    name = "text"
    blends = False
    copies = True

    @property
    def size(self) -> int:
        return self.length

    @property
    def words(self) -> InputWords:
        described = f"a text, cut into tokens as {self.tokenized_by} wants them, of which the first {self.length} are read"
        some = ('"some words"', '"some words" texts.txt')
        return InputWords("text", "texts", f"{self.length} tokens", described, "text", *some)

    def to_input(self, stored: Int32[Any, "batch tokens"]) -> Int[Any, "batch tokens"]:
        return stored.long()

    def named(self, inputs: Any) -> Iterator[Named]:
        """Each text: the one given, those of a list, the lines of a file, or the cells of a table (a Path, or the name of a file)."""
        given: Iterable[Any] = [inputs] if isinstance(inputs, str | Path) else inputs
        number = 0
        for each in given:
            if _is_folder(each):
                yield Named(
                    clean(str(each)), None, "that is a folder. Give the .txt files in it, a table, or the texts themselves."
                )
                continue
            if _is_file(each):
                yield from _of_file(Path(each))
                continue
            yield Named(f"{number:06d}", each)
            number += 1

    def is_one(self, inputs: Any) -> bool:
        """Whether it is a single text."""
        return isinstance(inputs, str) and not _is_file(inputs)

    def prepared(self, source: Any, name: str = "") -> Int32[np.ndarray, " tokens"]:
        """The text as numbers.

        Raises:
            DataError: for something that is no text, or an empty one.
        """
        if not isinstance(source, str):
            raise DataError(f"{quoted(name)} is a {type(source).__name__}, not a text. Give a str.")
        if not source.strip():
            raise EmptyText(f"{quoted(name)} is an empty text: there is nothing to read.")
        return np.array(self.tokenizer.cut(self.tokenizer.tokens(source), self.length), np.int32)

    def stacked(self, examples: Sequence[Int32[np.ndarray, " _"]]) -> Int32[np.ndarray, "batch tokens"]:
        longest = max((len(example) for example in examples), default=0)
        out = np.full((len(examples), longest), PADDING, np.int32)
        for row, example in zip(out, examples, strict=True):
            row[: len(example)] = example
        return out

    def remarks(self, source: Any, example: Int32[np.ndarray, " tokens"]) -> tuple[str, ...]:
        # only a text that fills its room can have been cut
        return ("cut",) if len(example) == self.length and len(self.tokenizer.tokens(source)) > self.length else ()

    def viewed(self, model: Predictive, task: Any, augment: str, count: int) -> tuple[Predictive, Any]:
        return one_view(model, self, count)

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "length": self.length, "tokenized_by": self.tokenized_by}


class EmptyText(DataError):
    """A text with nothing in it."""

    reason = "empty"


def plain(inputs: Sequence[str] = ()) -> Texts:
    """For a look at texts without a model: words stand for tokens, and none is too long."""
    return Texts(Words(), 1_000_000, "people")


def _is_file(given: Any) -> bool:
    """Whether it is the name of a file and no text: a Path, a file that is there, or one word that ends as files with texts do."""
    if not isinstance(given, str):
        return isinstance(given, Path)
    named = given.lower().endswith((".txt", *TABLE_SUFFIXES)) and not any(map(str.isspace, given))
    return named or ("." in given and "\n" not in given and os.path.isfile(given))  # noqa: PTH113


def _is_folder(given: Any) -> bool:
    """Whether it is the name of a folder and no text."""
    return isinstance(given, str | Path) and not any(map(str.isspace, str(given))) and os.path.isdir(given)  # noqa: PTH112


def _of_file(file: Path) -> Iterator[Named]:
    """The texts in a file; its name and the numbers of their lines are their ids."""
    name, suffix = clean(str(file)), file.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        yield from _cells_of(file, name)
    elif suffix in IMAGE_SUFFIXES:
        yield Named(name, None, "this is an image, and the model reads texts. Give texts, or files with texts (.txt, .csv).")
    else:
        yield from _lines(file)


def _cells_of(file: Path, name: str) -> Iterator[Named]:
    """The texts in a table: in the column that is called so, or in the only one."""
    try:
        grid = read_grid(file)
    except DataError as error:
        yield Named(name, None, str(error))
        return
    place = 0 if len(grid.columns) == 1 else usual_column(grid, TEXT)
    if place is None:
        columns = ", ".join(map(quoted, grid.columns[:12]))
        yield Named(name, None, f'which column holds the texts? There are {columns}. Call it "text".')
        return
    for line, row in grid.rows:
        yield Named(f"{name}:{line}", row[place] if place < len(row) else "")


def _lines(file: Path) -> Iterator[Named]:
    """The lines of a file with texts; its name and their numbers are their ids."""
    name = clean(str(file))
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        yield Named(name, None, f"the file cannot be read ({error.strerror or error}). Check the path.")
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield Named(f"{name}:{number}", line)
