"""What a training would do with so many epochs or minutes, line by line: arithmetic on prices that `pricing` has measured."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from headstart.core import Row
from headstart.train.observers.rows import duration, row_in_words

ELSEWHERE = (
    "What training all layers adds is not forecast. Where it was measured (docs/log.md, three minutes on two cores, two or three splits "
    "each), it took the loss to 0.51 of row 0's on pictures of textiles, to 0.76 on photographs of waste and to 0.85 on solar cells; on "
    "cats and dogs and on two hundred brain scans it gave nothing that could be told from chance."
)
"""All that can honestly be said of step 2 beforehand."""


@dataclass(frozen=True, slots=True)
class Line:
    """One item of the time budget, and where its number comes from."""

    what: str
    seconds: float
    how: str = ""


@dataclass(frozen=True, slots=True)
class Prices:
    """What things cost here, in seconds: what comes before step 2, an epoch's steps, a row in between, and the end."""

    before: tuple[Line, ...]
    probing: float
    """To choose the precision of the steps."""
    epoch: float
    row: float
    """Evaluation and saving after an epoch that is not the last."""
    end: float
    """Evaluation, the head solved again where that is due, and saving, after the last step."""
    head_alone_end: float = 0.0
    """Saving and leaving where no epoch follows row 0."""
    again: float = 0.0
    """Epochs that are trained once more, without rows, before new ones begin."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the forecast speaks of, in words and numbers that do not depend on the time."""

    data: str
    backbone: str
    size: str
    images: int
    items: str
    layers: str
    next_row: int
    """The number of the first row to come."""
    first_epoch: int
    """The number of the first epoch to come."""
    row_0: Row | None = None
    """The row of the head alone, where it is known already."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Forecast:
    """A plan of a training; `print` it, or take `json()`. Times are estimates from a few timed images."""

    asked: str
    """ "10 minutes" or "3 epochs"."""
    epochs: float
    """Complete passes with all layers learning; the last may be one in part."""
    epoch_seconds: float
    lines: tuple[Line, ...]
    seconds: float
    """All of it, from the start."""
    ends_at: str
    """The time of day when it would be done, if it began now."""
    rows: tuple[int, ...]
    """The epochs of the rows that the table would get."""
    facts: Facts

    def json(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return asdict(self)

    def __repr__(self) -> str:
        facts = self.facts
        width = max(len(line.what) for line in self.lines)
        table = [f"  {line.what:<{width}}  {duration(line.seconds):>8}  {line.how}".rstrip() for line in self.lines]
        rows = (
            f"Row {self.rows[0]}" if len(self.rows) == 1 else f"Rows {self.rows[0]} to {self.rows[-1]}" if self.rows else "No row"
        )
        known = [f"Known already: {row_in_words(facts.row_0)}."] if facts.row_0 else []
        return "\n".join(
            [
                f"{self.asked} on {facts.data} ({facts.images:,} {facts.items} to train on) with {facts.backbone} at {facts.size}:",
                *table,
                f"  {'in all':<{width}}  {duration(self.seconds):>8}  done at about {self.ends_at} if it began now",
                f"{rows}; {passes(self.epochs, facts.layers)}.",
                *known,
                *facts.notes,
            ]
        )


def passes(epochs: float, layers: str) -> str:
    """ "4.3 epochs in which all layers train", or what there is instead."""
    return f"{number_of(epochs)} in which {layers}" if epochs else "the head alone, no epoch of further layers"


def number_of(epochs: float) -> str:
    """ "1 epoch", "4.3 epochs"."""
    return "1 epoch" if epochs == 1 else f"{epochs:.1f} epochs".replace(".0 ", " ")


def epochs_that_fit(seconds: float, epoch: float, row: float) -> float:
    """How many passes fit into so many seconds with a row after each that is not the last; the last may be one in part."""
    whole = max(0, int(seconds / (epoch + row)))
    return whole + min(1.0, max(0.0, seconds - whole * (epoch + row)) / epoch)


def lay_out(prices: Prices, facts: Facts, epochs: int | None, minutes: float | None, ends_at: Callable[[float], str]) -> Forecast:
    """The forecast for `epochs` or else `minutes`; `ends_at(seconds)` tells the time of day so many seconds after the start."""
    before = sum(line.seconds for line in prices.before)
    if minutes is None:
        assert epochs is not None, "one of epochs and minutes is given"
        asked, count, notes = number_of(float(epochs)), float(epochs), facts.notes if epochs else ()
    else:
        asked = f"{minutes:g} minutes"
        left = 60 * minutes - before - prices.probing - prices.end - prices.again * prices.epoch
        count = epochs_that_fit(left, prices.epoch, prices.row)
        notes = facts.notes if count else (too_short(before + prices.head_alone_end, minutes),)
    lines = (*prices.before, *_training(prices, count))
    seconds = sum(line.seconds for line in lines)
    if minutes is not None and count:
        seconds = 60 * minutes
    told = replace(facts, notes=notes)
    return Forecast(asked, count, prices.epoch, lines, seconds, ends_at(seconds), _rows(facts, count), told)


def _training(prices: Prices, count: float) -> Sequence[Line]:
    """The lines from the first step on."""
    if not count:
        return [Line("saving", prices.head_alone_end)]
    between = math.ceil(count) - 1
    lines = [
        Line("choosing the precision", prices.probing),
        Line(f"{number_of(prices.again)} again", prices.again * prices.epoch, "at the full rate, without rows"),
        Line(f"{number_of(count)} of training", count * prices.epoch, f"{duration(prices.epoch)} each"),
        Line(f"rows after {between} of them", between * prices.row, f"{duration(prices.row)} each: evaluation, saving"),
        Line("the end", prices.end, "evaluation, head and saving, with some reserve"),
    ]
    return [line for line in lines if line.seconds]


def _rows(facts: Facts, count: float) -> tuple[int, ...]:
    return tuple(range(facts.next_row, facts.first_epoch + math.ceil(count)))


def too_short(needed: float, minutes: float) -> str:
    """What to say where no step of further layers fits."""
    if needed > 60 * minutes:
        return f"{minutes:g} minutes are too short: even the head alone takes about {duration(needed)} here."
    return f"In {minutes:g} minutes there is time for the head alone, not for further layers."
