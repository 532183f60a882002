"""Labels that are masks: what of a task needs no tensors, so that data can be looked at without them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

import numpy as np

from headstart.core import Dataset, MaskFile, Settings, TaskWords
from headstart.errors import BadSetting, DataError
from headstart.modalities import _masks
from headstart.modalities._decode import size_of
from headstart.tasks._states import require_different, require_no_loss, require_state
from headstart.tasks._whole import OneLikelihood

T = TypeVar("T", bound="MaskNames")
MOST_SIDE = 512
"""Rows or columns at which masks are compared at most."""
LOOKED_AT = 64
"""Masks whose size is looked up."""
VOID = 255
"""Of a target: nobody knows what is there."""


@dataclass(frozen=True)
class MaskNames(OneLikelihood):
    """The classes, and the number that stands for each in masks; `void` are numbers that stand for none.

    Masks are compared at `grid` (rows, columns), whatever the size of an image.
    """

    classes: tuple[str, ...]
    numbers: tuple[int, ...]
    void: tuple[int, ...]
    grid: tuple[int, int]
    name: str = field(default="segmentation", init=False)
    divides: bool = field(default=False, init=False)
    outputs: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(
                f"to tell places apart takes at least two classes, got {list(self.classes)}. Name them: classes=[...], or --classes."
            )
        require_different(self.classes, "class")
        if len(self.classes) != len(self.numbers) or len(self.classes) >= VOID:
            raise DataError(f"each class needs a number and there are at most 254, got {self.classes} and {self.numbers}.")
        object.__setattr__(self, "outputs", len(self.classes))

    @classmethod
    def from_data(cls: type[T], dataset: Dataset) -> T:
        """The task of telling the classes of the places of images, which the data names.

        Raises:
            DataError: for data without masks.
        """
        files = [record.target for record in dataset.records if isinstance(record.target, MaskFile)]
        if not files or not dataset.legend:
            raise DataError(
                f"{dataset.name} has no masks, so nothing can be learned of the places of its images. Open it with mask_folder(images, masks)."
            )
        named = {number: name for number, name in sorted(dataset.legend.items()) if name is not None}
        void = tuple(number for number, name in sorted(dataset.legend.items()) if name is None)
        return cls(tuple(named.values()), tuple(named), void, _grid(files))

    @classmethod
    def from_state(cls: type[T], state: Mapping[str, Any]) -> T:
        """The task whose `state()` this is."""
        require_state(state, "segmentation", ("classes", "numbers", "void", "grid"))
        rows, columns = map(int, state["grid"])
        numbers, void = (tuple(map(int, state[key])) for key in ("numbers", "void"))
        return cls(tuple(map(str, state["classes"])), numbers, void, (rows, columns))

    def state(self) -> dict[str, Any]:
        """Plain JSON from which `from_state` makes an equal task."""
        lists = {"classes": self.classes, "numbers": self.numbers, "void": self.void, "grid": self.grid}
        return {"name": self.name, **{key: list(value) for key, value in lists.items()}}

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    @property
    def words(self) -> TaskWords:
        """ "11 classes of places"."""
        return TaskWords(
            learned=f"{self.outputs:,} classes of places",
            model=f"segmentation model that tells which of {self.outputs} classes each place of an image belongs to",
            item="class",
            output="one logit for each class, in the order below, at every place of a grid over the image",
            limit=f"It gives every place one of its {self.outputs} classes, also what is none of them.",
            tag="segmentation",
        )

    def accept(self, settings: Settings) -> None:
        """Everything but drawing by class, and a head that says one thing of the whole image.

        Raises:
            BadSetting: for `balance` and `head_kind`.
        """
        if settings.balance == "sample":
            raise BadSetting("balance=sample draws images by their class, and here an image has many. Take weights, or none.")
        require_no_loss(settings, "places")
        if settings.head_kind not in (None, "decoder"):
            raise BadSetting(f"places of images need head_kind=decoder, got {settings.head_kind!r}. Leave it out.")

    def counts(self, raw: Sequence[Any]) -> dict[str, int]:
        """Empty: an image has many classes, and masks are not opened to be counted."""
        return {}

    def tells(self, label: Any) -> bool:
        """Whether it is a mask."""
        return isinstance(label, MaskFile)

    def require_legend(self, dataset: Dataset) -> None:
        """Raises `DataError` where the data has another name for a number; that a number is called by itself is none."""
        own = dict(zip(self.numbers, self.classes, strict=True))
        for number, name in dataset.legend.items():
            if name is not None and name != str(number) and own.get(number, name) != name:
                raise DataError(
                    f"in the masks of {dataset.name} the number {number} is {name}, and this model learned it as {own[number]}. Give the "
                    f"classes in its order: {', '.join(self.classes[:12])}."
                )

    def faults(self, raw: Sequence[Any]) -> dict[int, str]:
        """Masks that cannot be read, are of another size than their image, hold numbers that stand for nothing, or nothing known."""
        found = {place: self._fault(label) for place, label in enumerate(raw) if isinstance(label, MaskFile)}
        return {place: fault for place, fault in found.items() if fault}

    def _fault(self, label: MaskFile) -> str:
        try:
            mask = _masks.read(label.path, label)
        except DataError as error:
            return str(error)
        size = size_of(label.image)
        if size is not None and size != mask.shape:
            return (
                f"the mask {label} is {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x {size[0]}. "
                "Each pixel of an image needs one in its mask: scale neither of them alone."
            )
        held = set(np.unique(mask).tolist())
        strange = sorted(held - {*self.numbers, *self.void, VOID})
        if strange:
            some = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
            return (
                f"the mask {label} holds {some}, which stands for no class (known: {', '.join(map(str, self.numbers[:12]))}). "
                f"If nobody knows what is there: void={strange[0]} (--void {strange[0]}); else name the class."
            )
        if not held & set(self.numbers):
            return (
                f"the mask {label} is void everywhere ({', '.join(map(str, sorted(held)))}): nothing can be learned from it. Draw in it, "
                "or leave it out."
            )
        return ""

    def strata(self, raw: Sequence[Any]) -> list[str]:
        """One for all: what an image shows is not known before its mask is opened."""
        return ["mask"] * len(raw)

    def unknown(self, raw: Sequence[Any]) -> list[str]:
        """None: numbers that stand for nothing are faults of a mask."""
        return []

    def widened(self: T, raw: Sequence[Any]) -> T:
        """Itself."""
        return self


def _grid(files: Sequence[MaskFile]) -> tuple[int, int]:
    """The usual rows and columns of some of the masks, made smaller where they are many."""
    some = files[:: max(1, len(files) // LOOKED_AT)]
    sizes = [size for each in some if (size := size_of(each.path)) is not None]
    if not sizes:
        return (256, 256)
    rows, columns = (round(median(size[at] for size in sizes)) for at in (0, 1))
    smaller = min(1.0, MOST_SIDE / max(rows, columns))
    return max(1, round(rows * smaller)), max(1, round(columns * smaller))
