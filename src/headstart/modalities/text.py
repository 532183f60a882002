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
from headstart.modalities._scan import clean, quoted
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
        """Each text: the one given, those of a list, or the lines of a file (a Path, or a name that ends in .txt)."""
        given: Iterable[Any] = [inputs] if isinstance(inputs, str | Path) else inputs
        number = 0
        for each in given:
            if isinstance(each, Path) or (isinstance(each, str) and each.endswith(".txt") and os.path.isfile(each)):  # noqa: PTH113
                yield from _lines(Path(each))
                continue
            yield Named(f"{number:06d}", each)
            number += 1

    def is_one(self, inputs: Any) -> bool:
        """Whether it is a single text."""
        return isinstance(inputs, str) and not inputs.endswith(".txt")

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
