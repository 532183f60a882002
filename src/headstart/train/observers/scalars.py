"""The numbers of a run by name, as programs that draw curves take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.core import Event, Row, RowDone, StepDone
from headstart.train.observers.rows import interval, metric_names


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number and its place on the x axis, which counts steps or epochs."""

    name: str
    value: float
    axis: Literal["step", "epoch"]
    at: int


class Scalars:
    """`lr` at each step; at each epoch `loss/train`, `loss/valid`, `seconds`, and `valid/<metric>` with `_low_95` and `_high_95`.

    Steps are counted on from the first one seen, also where a later phase counts its own from one again. `seconds` are those
    between a row and the one before, so the first row of a training that goes on has none.
    """

    def __init__(self) -> None:
        self._step = 0
        self._before: float | None = None

    def of(self, event: Event) -> Sequence[Scalar]:
        """The numbers that the event brings, none for most kinds of events."""
        match event:
            case StepDone():
                self._step = self._step + 1 if self._step else event.step
                return [Scalar("lr", event.lr, "step", self._step)]
            case RowDone():
                return self._of_row(event.row)
            case _:
                return []

    def _of_row(self, row: Row) -> list[Scalar]:
        seconds, before = row.get("seconds"), 0.0 if row["epoch"] == 0 else self._before
        self._before = seconds
        numbers = {"loss/train": row.get("train_loss"), "loss/valid": row.get("valid_loss")}
        for name in metric_names(row):
            low, high = interval(row, name) or (None, None)
            numbers |= {f"valid/{name}": row[name], f"valid/{name}_low_95": low, f"valid/{name}_high_95": high}
        numbers["seconds"] = None if seconds is None or before is None else seconds - before
        return [Scalar(name, float(value), "epoch", row["epoch"]) for name, value in numbers.items() if value is not None]
