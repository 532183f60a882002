"""Labels that name one class each: what of a task needs no tensors, so that data can be looked at without them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from headstart.core import Dataset, Settings, TaskWords
from headstart.errors import DataError
from headstart.tasks._states import require_different, require_no_loss, require_state
from headstart.tasks._whole import OfTheWhole, OneLikelihood

T = TypeVar("T", bound="ClassNames")


@dataclass(frozen=True)
class ClassNames(OneLikelihood, OfTheWhole):
    """The classes that labels name."""

    classes: tuple[str, ...]
    name: str = field(default="single_label", init=False)
    divides: bool = field(default=True, init=False)
    outputs: int = field(default=0, init=False)
    """Numbers per example that the head gives: one per class."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(f"to tell classes apart takes at least two, got {list(self.classes)}. Add examples of another class.")
        require_different(self.classes, "class")
        object.__setattr__(self, "outputs", len(self.classes))

    @classmethod
    def from_data(cls: type[T], dataset: Dataset) -> T:
        """The task of telling apart the labels that the data has.

        Raises:
            DataError: for fewer than two, or several label columns.
        """
        if len(dataset.columns) > 1:
            raise DataError(
                f"{dataset.name} has {len(dataset.columns)} label columns ({', '.join(dataset.columns[:6])}), and each example has "
                'one class. Name the column: label_column=..., or the task: task="multi_label".'
            )
        return cls(tuple(map(str, dataset.classes)))

    @classmethod
    def from_state(cls: type[T], state: Mapping[str, Any]) -> T:
        """The task whose `state()` this is."""
        require_state(state, "single_label", ("classes",))
        return cls(tuple(map(str, state["classes"])))

    def state(self) -> dict[str, Any]:
        """Plain JSON from which `from_state` makes an equal task."""
        return {"name": self.name, "classes": list(self.classes)}

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    @property
    def words(self) -> TaskWords:
        """ "3 classes"."""
        return TaskWords(
            learned=f"{self.outputs:,} classes",
            model=f"classifier that tells {self.outputs} classes apart",
            item="class",
            output="one logit for each class, in the order below",
            limit=f"It always answers with one of its {self.outputs} classes, also for an example that is of none of them.",
            tag="classification",
        )

    def accept(self, settings: Settings) -> None:
        """Everything but another loss.

        Raises:
            BadSetting: for `loss`.
        """
        require_no_loss(settings, "classes")

    def counts(self, raw: Sequence[Any]) -> dict[str, int]:
        """Examples of each class, also of those that have none."""
        tally = Counter(raw)
        return {name: tally[name] for name in dict.fromkeys((*self.classes, *raw))}

    def tells(self, label: Any) -> bool:
        """Always: any word may be the name of a class."""
        return True

    def strata(self, raw: Sequence[Any]) -> list[str]:
        """The classes themselves."""
        return [str(label) for label in raw]

    def unknown(self, raw: Sequence[Any]) -> list[str]:
        """Labels that are none of the classes."""
        return sorted({str(label) for label in raw} - set(self.classes))

    def widened(self: T, raw: Sequence[Any]) -> T:
        """With the classes that are new after the others."""
        return replace(self, classes=(*self.classes, *self.unknown(raw)))
