"""Labels that are numbers: what of a task needs no tensors, so that data can be looked at without them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from headstart.core import Dataset, Label, Settings, TaskWords
from headstart.errors import BadSetting, DataError, unknown_name
from headstart.modalities import _cells
from headstart.tasks._states import require_state
from headstart.tasks._whole import OfTheWhole

STRATA = 10


class LossWords(NamedTuple):
    """How a likelihood of numbers is spoken of."""

    spread: str
    """What the head gives for each number beside its centre."""
    limit: str


LOSSES = MappingProxyType(
    {
        "gaussian": LossWords(
            "variance", "Its interval is that of a Gaussian: where errors have heavier tails, it promises too much."
        ),
        "student": LossWords(
            "squared scale",
            "Its interval is that of a Student t distribution with 4 degrees of freedom, and examples far off the rest count little: what is "
            "rare and true is taken for an error.",
        ),
    }
)
"""The likelihoods: those in `_likelihoods`."""

T = TypeVar("T", bound="Numbers")


@dataclass(frozen=True)
class Numbers(OfTheWhole):
    """The names of the numbers, and what they are standardised by."""

    names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    """The units are the user's."""
    noise: str = "gaussian"
    """The name of its likelihood, as in `Settings.loss`."""
    name: str = field(default="regression", init=False)
    divides: bool = field(default=False, init=False)
    outputs: int = field(default=0, init=False)
    """Numbers per example that the head gives: a centre and a logarithm of the squared scale for each."""
    held: tuple[tuple[float, ...], ...] | None = None
    """Of held-out examples, target by target: how many deviations they were off, the least first. None before there were any."""

    def __post_init__(self) -> None:
        count = len(self.names)
        if not count or len(self.centre) != count or len(self.scale) != count or not all(each > 0 for each in self.scale):
            raise DataError(
                f"each target needs a name, a centre and a scale above 0, got {self.names}, {self.centre}, {self.scale}."
            )
        _require_known(self.noise)
        object.__setattr__(self, "outputs", 2 * count)

    @classmethod
    def from_data(cls: type[T], dataset: Dataset) -> T:
        """The task of predicting the numbers that the labels are.

        They are standardised by mean and deviation of all examples that are not given for the last test.

        Raises:
            DataError: for words, for numbers that are not finite, and for a target that has one value only.
        """
        names = dataset.columns or ("value",)
        rows = []
        for record in dataset.records:
            if record.target is not None:
                numbers = [number_in(cell, record.id, name) for cell, name in zip(listed(record.target), names, strict=True)]
                rows += [numbers] if record.part != "test" else []
        table = np.array(rows, np.float64).reshape(-1, len(names))
        centres, scales = [], []
        for name, column in zip(names, table.T, strict=True):
            known = column[~np.isnan(column)]
            if len(known) < 2 or known.min() == known.max():
                some = f"is {known[0]:g} in all of them" if len(known) else "is empty in all of them"
                raise DataError(
                    f"{dataset.name}: {name} {some} ({len(table):,} examples): there is nothing to learn. Choose another."
                )
            centres.append(float(known.mean()))
            scales.append(float(known.std()))
        return cls(tuple(names), tuple(centres), tuple(scales))

    @classmethod
    def from_state(cls: type[T], state: Mapping[str, Any]) -> T:
        """The task whose `state()` this is."""
        require_state(state, "regression", ("names", "centre", "scale"), ("loss", "held"))
        centre, scale = (tuple(map(float, state[key])) for key in ("centre", "scale"))
        held = state.get("held")
        kept = None if held is None else tuple(tuple(map(float, column)) for column in held)
        return cls(tuple(map(str, state["names"])), centre, scale, str(state.get("loss", "gaussian")), held=kept)

    def state(self) -> dict[str, Any]:
        """Plain JSON from which `from_state` makes an equal task."""
        numbers = {"names": list(self.names), "centre": list(self.centre), "scale": list(self.scale)}
        held = {} if self.held is None else {"held": [list(column) for column in self.held]}
        return {"name": self.name, **numbers, "loss": self.noise, **held}

    @property
    def words(self) -> TaskWords:
        """What is predicted."""
        numbers = f"the number {self.names[0]}" if len(self.names) == 1 else f"{len(self.names)} numbers"
        units = ", ".join(
            f"({name} - {centre:.6g}) / {scale:.6g}"
            for name, centre, scale in zip(self.names, self.centre, self.scale, strict=True)
        )
        return TaskWords(
            learned=numbers,
            model=f"regression model that predicts {numbers}",
            item="number",
            output=f"the mean of each number, then the logarithm of its {LOSSES[self.noise].spread}, for {units}",
            limit=LOSSES[self.noise].limit,
        )

    def accept(self, settings: Settings) -> None:
        """Everything but what is for classes.

        Raises:
            BadSetting: for `label_smoothing` and `balance`.
            UnknownName: for a `loss` that there is not, with the nearest.
        """
        if settings.loss is not None:
            _require_known(settings.loss)
        if settings.label_smoothing:
            raise BadSetting("label_smoothing spreads a label over classes, and numbers have none. Leave it at 0.")
        if settings.balance != "none":
            raise BadSetting("balance evens out the sizes of classes, and numbers have none. Leave it at none.")

    def under(self: T, loss: str | None) -> T:
        """The task with the likelihood of this name; itself for None."""
        return self if loss is None else replace(self, noise=loss)

    def counts(self, raw: Sequence[Label]) -> dict[str, int]:
        """Nothing: numbers have no classes."""
        return {}

    def tells(self, label: Label) -> bool:
        """Whether there is a number in it."""
        return not all(map(_cells.is_unknown, listed(label)))

    def strata(self, raw: Sequence[Label]) -> list[str]:
        """The tenth of all examples that the first number is in, so that all parts have small and large ones."""
        found = np.array([_cells.number(listed(label)[0]) for label in raw], np.float64)
        ordered = np.sort(found[np.isfinite(found)])
        if not len(ordered):
            return [""] * len(found)
        edges = np.unique(ordered[np.linspace(0, len(ordered) - 1, STRATA + 1).round().astype(int)[1:-1]])
        return [f"{place:02d}" for place in np.searchsorted(edges, np.nan_to_num(found), side="right").tolist()]

    def unknown(self, raw: Sequence[Label]) -> list[str]:
        """Nothing: any number can be predicted."""
        return []


def _require_known(loss: str) -> None:
    if loss not in LOSSES:
        raise unknown_name("loss", loss, LOSSES, " of numbers")


def listed(label: Label) -> Sequence[str]:
    return (label,) if isinstance(label, str) else label


def number_in(cell: str, id: str | None, name: str) -> float:
    """The number that the cell holds, no number where it is empty."""
    if _cells.is_unknown(str(cell)):
        return float("nan")
    found, where = _cells.number(str(cell)), "" if id is None else f"{id}: "
    if found is None:
        raise DataError(
            f'{where}{name} is "{cell}", which is no number. Write it as 0.5 (with a point, no units); if labels are names, they are '
            'classes: task="single_label".'
        )
    if not math.isfinite(found):
        raise DataError(
            f"{where}{name} is {cell}, and only finite numbers can be learned. Take the example out, or leave the cell empty."
        )
    return found
