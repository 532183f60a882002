"""Labels of which each example has any number: what of a task needs no tensors, so that data can be looked at without them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from headstart.core import Dataset, Label, Settings, TaskWords
from headstart.errors import BadSetting, DataError
from headstart.modalities import _cells
from headstart.tasks._states import require_different, require_no_loss, require_state
from headstart.tasks._whole import OfTheWhole, OneLikelihood

T = TypeVar("T", bound="LabelNames")


@dataclass(frozen=True)
class LabelNames(OneLikelihood, OfTheWhole):
    """The names of the labels, and how raw labels tell them.

    `cells` tells that tuples hold a cell of a table for each label, which says yes, no or nothing; otherwise they hold names, as a
    text does with `separator` between them (None: a text is one name).
    """

    names: tuple[str, ...]
    cells: bool = False
    separator: str | None = None
    thresholds: tuple[float, ...] = ()
    """From which probability on an example is said to have each label; empty: a half."""
    name: str = field(default="multi_label", init=False)
    divides: bool = field(default=False, init=False)
    outputs: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("there is no label to learn. Give examples with labels.")
        require_different(self.names, "label")
        if self.thresholds and len(self.thresholds) != len(self.names):
            raise DataError(f"there are {len(self.names)} labels but {len(self.thresholds)} thresholds. Give one for each.")
        object.__setattr__(self, "outputs", len(self.names))

    @classmethod
    def from_data(cls: type[T], dataset: Dataset) -> T:
        """The task of naming the labels that the data knows: its label columns, or the names that its labels are made of.

        Raises:
            DataError: for label columns that hold something else than yes, no and nothing.
        """
        raw = [record.target for record in dataset.records if record.target is not None]
        if len(dataset.columns) > 1:
            _require_flags(dataset)
            return cls(dataset.columns, cells=True, separator=";")
        separator = _cells.separator_of([label for label in raw if isinstance(label, str)])
        return cls(tuple(sorted({name for label in raw for name in names_in(label, separator)})), separator=separator)

    @classmethod
    def from_state(cls: type[T], state: Mapping[str, Any]) -> T:
        """The task whose `state()` this is."""
        require_state(state, "multi_label", ("names",), ("cells", "separator", "thresholds"))
        thresholds = tuple(map(float, state.get("thresholds", ())))
        return cls(tuple(map(str, state["names"])), bool(state.get("cells")), state.get("separator"), thresholds)

    def state(self) -> dict[str, Any]:
        """Plain JSON from which `from_state` makes an equal task."""
        rest = {"cells": self.cells, "separator": self.separator, "thresholds": list(self.thresholds)}
        return {"name": self.name, "names": list(self.names), **rest}

    @property
    def words(self) -> TaskWords:
        """ "11 labels"."""
        return TaskWords(
            learned=f"{self.outputs:,} labels",
            model=f"classifier that says which of {self.outputs} labels an example has",
            item="label",
            output="one logit for each label, in the order below; its sigmoid is the probability that the example has it",
            limit="It judges each label by itself: that two labels exclude each other, or go together, it does not know.",
            tag="classification",
        )

    def accept(self, settings: Settings) -> None:
        """Everything but weights by class and another loss.

        Raises:
            BadSetting: for `balance` and `loss`.
        """
        require_no_loss(settings, "labels")
        if settings.balance != "none":
            raise BadSetting(
                "balance evens out the sizes of classes, and here an example has any number of labels. Leave it at none."
            )

    def counts(self, raw: Sequence[Label]) -> dict[str, int]:
        """Examples that have each label, also of labels that none has; a cell that is no flag counts for nothing."""
        tally = Counter(name for label in raw for name in self._has(label))
        return {name: tally[name] for name in dict.fromkeys((*self.names, *tally))}

    def tells(self, label: Label) -> bool:
        """Whether it names labels, or some cell says yes or no."""
        return isinstance(label, str) or not self.cells or not all(map(_cells.is_unknown, label))

    def strata(self, raw: Sequence[Label]) -> list[str]:
        """The rarest label that each example has: what is rare is what a random split loses most easily."""
        tally = self.counts(raw)
        return [min(self._has(label), key=lambda name: (tally[name], name), default="") for label in raw]

    def unknown(self, raw: Sequence[Label]) -> list[str]:
        """Names that are none of the labels."""
        return sorted({name for label in raw for name in self._has(label)} - set(self.names))

    def widened(self: T, raw: Sequence[Label]) -> T:
        """With the labels that are new after the others."""
        new = self.unknown(raw)
        return replace(self, names=(*self.names, *new), thresholds=(*self.thresholds, *(0.5 for _ in new if self.thresholds)))

    def _has(self, label: Label) -> list[str]:
        if self.cells and not isinstance(label, str):
            return [name for name, cell in zip(self.names, label, strict=False) if cell.strip().casefold() in _cells.YES]
        return names_in(label, self.separator)


def names_in(label: Label, separator: str | None) -> list[str]:
    """The names in a raw label. Without a separator a text is one name."""
    if isinstance(label, str):
        return [label] if separator is None else _cells.parts(label, separator)
    return list(dict.fromkeys(label))


def _require_flags(dataset: Dataset) -> None:
    for record in dataset.records:
        for name, cell in zip(dataset.columns, record.target or (), strict=False):
            if not (_cells.is_flag(cell) or _cells.is_unknown(cell)):
                raise DataError(
                    f'{dataset.name}: {record.id} has "{cell}" in the label column {name}. For several labels per example each cell '
                    'says 1 (has it), 0 (has it not) or nothing (nobody knows). For numbers: task="regression"; for one class: '
                    f"label_column={name!r}."
                )
