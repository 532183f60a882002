"""Rows of the table as text: which columns there are, how numbers, intervals and times are written. Pure functions."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headstart.core import Row

FIXED = ("epoch", "stage", "train_loss", "valid_loss", "lr", "seconds")
MARK = "*"
FOOTNOTE = f"{MARK} train_loss of the solved head is taken over the training images without augmentation."


def metric_names(row: Row) -> list[str]:
    """The metrics of a row, in its order: its numbers that are no fixed column and no interval of one."""
    return [
        name
        for name, value in row.items()
        if name not in FIXED
        and not name.endswith("_95")
        and not isinstance(value, bool)
        and (isinstance(value, int | float) or (value is None and f"{name}_95" in row))
    ]


def interval(row: Row, name: str) -> tuple[float, float] | None:
    """The 95 % interval of a number of the row, or None where there is none."""
    pair = row.get(f"{name}_95")
    if not pair or any(bound is None or not math.isfinite(bound) for bound in pair):
        return None
    return float(pair[0]), float(pair[1])


def is_marked(row: Row) -> bool:
    """Whether the row is that of a solved head, whose train_loss comes from un-augmented images, unlike that of other rows."""
    return row.get("epoch") == 0 and row.get("stage") == "head" and row.get("lr") is None and row.get("train_loss") is not None


def number(value: Any) -> str:
    """A loss or metric with three decimals; "-" where there is none."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(float(value))
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def measured(row: Row, name: str) -> str:
    """A metric with its 95 % interval: `0.097 [0.073, 0.128]`."""
    bounds = interval(row, name)
    text = number(row.get(name))
    return text if bounds is None else f"{text} [{number(bounds[0])}, {number(bounds[1])}]"


def row_in_words(row: Row) -> str:
    """ "epoch 3, valid_loss 0.248, error_rate 0.097 [0.073, 0.128]"."""
    judged = [f"{name} {measured(row, name)}" for name in metric_names(row)]
    return ", ".join([f"epoch {row['epoch']}", f"valid_loss {number(row['valid_loss'])}", *judged])


def duration(seconds: float | int | None) -> str:
    """Seconds as people read them: `4.2 s`, `1:23`, `2:04:09`."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def printable(text: str) -> str:
    """The text with control characters and undecodable bytes escaped, so that a file name cannot steer a terminal."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in ("Cc", "Cs")
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def columns(row: Row) -> list[str]:
    """The headings of the table that this row belongs to."""
    return ["epoch", "stage", "train_loss", "valid_loss", *metric_names(row), "time"]


def cells(row: Row) -> list[str]:
    """One text for each of `columns(row)`."""
    return [
        str(row.get("epoch", "-")),
        printable(str(row.get("stage", "-"))),
        number(row.get("train_loss")) + (MARK if is_marked(row) else ""),
        number(row.get("valid_loss")),
        *(measured(row, name) for name in metric_names(row)),
        duration(row.get("seconds")),
    ]


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table of fixed width, settled by its first row."""

    headings: tuple[str, ...]
    widths: tuple[int, ...]

    @classmethod
    def of(cls, row: Row) -> "Layout":
        """The layout in which this row and later ones with the same metrics line up."""
        headings = columns(row)
        texts = cells(row)
        smallest = [5, 6, 11, 10, *(len("0.000 [0.000, 0.000]") if "[" in text else 7 for text in texts[4:-1]), 8]
        widths = (max(trio) for trio in zip(map(len, headings), map(len, texts), smallest, strict=True))
        return cls(tuple(headings), tuple(widths))

    def line(self, texts: Sequence[str]) -> list[str]:
        """The texts padded to their columns: the stage to the left, everything else to the right.

        The mark of a loss stands in a place of its own, so that the decimals stay below each other.
        """
        padded = []
        for heading, text, width in zip(self.headings, texts, self.widths, strict=True):
            if heading == "stage":
                padded.append(text.ljust(width))
            elif heading == "train_loss":
                padded.append((text if text.endswith(MARK) or text == heading else text + " ").rjust(width))
            else:
                padded.append(text.rjust(width))
        return padded
