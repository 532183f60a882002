"""Test-time augmentation: several fixed views of each image, what the model says of them averaged by the task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol, runtime_checkable

from headstart.core import Outputs, Predictive
from headstart.errors import BadSetting
from headstart.modalities._augment import find_preset
from headstart.modalities._geometry import Geometry

REACH = 1 / 16
"""How far a shifted view is moved at least, as a share of its side; further where the stored image is that much larger."""
CORNERS = ((-1, -1), (1, 1), (-1, 1), (1, -1))


@runtime_checkable
class Averages(Protocol):
    """What is asked of a task here."""

    def averaged(self, views: Sequence[Outputs]) -> Outputs: ...


@dataclass(frozen=True, slots=True)
class View:
    """A square moved down and right by so many pixels from the centre, in one of the 8 symmetries of the square.

    Bit 0 of `symmetry` mirrors left-right, bit 1 up-down, bit 2 transposes (first).
    """

    down: int = 0
    right: int = 0
    symmetry: int = 0


@dataclass(frozen=True)
class Views:
    """A `Predictive` that looks at each image in several views. `geometry` says which pixels it wants: a little more than the model."""

    model: Predictive
    task: Averages
    geometry: Geometry
    size: int
    """The side of what the model sees."""
    views: tuple[View, ...]

    def outputs(self, inputs: Any) -> Outputs:
        """What the model says of all views of each image [batch, 3, height, width] together."""
        from torch.nn.functional import pad

        margin = (inputs.shape[2] - self.size) // 2
        missing = max(0, max(max(abs(view.down), abs(view.right)) for view in self.views) - margin)
        wide = pad(inputs, [missing] * 4, mode="reflect") if missing else inputs
        return together(self.task, [self.model.outputs(seen(wide, self.size, view)) for view in self.views])


@dataclass(frozen=True)
class Turned:
    """A `Predictive` that looks at all of each square image in several of its symmetries; what is said of places is turned back."""

    model: Predictive
    task: Averages
    symmetries: tuple[int, ...]

    def outputs(self, inputs: Any) -> Outputs:
        """What the model says of all views of each image [batch, 3, side, side] together."""
        views = ((seen(inputs, inputs.shape[2], View(symmetry=symmetry)), symmetry) for symmetry in self.symmetries)
        return together(self.task, [turned_back(self.model.outputs(view), symmetry) for view, symmetry in views])


def together(task: Averages, views: Sequence[Outputs]) -> Outputs:
    """What the views say together; an example is as unlike as its views are on average."""
    found, unlike = task.averaged(views), [view.unlike for view in views if view.unlike is not None]
    return replace(found, unlike=sum(unlike[1:], unlike[0]) / len(unlike)) if unlike else found


def turned_back(outputs: Outputs, symmetry: int) -> Outputs:
    """The outputs for a view as they lie over the image itself, where they are of places; of the whole image they stay."""
    if outputs.mean.ndim == 2:
        return outputs

    def back(values: Any, rows: int, columns: int) -> Any:
        axes = [axis for axis, bit in ((columns, 1), (rows, 2)) if symmetry & bit]
        values = values.flip(axes) if axes else values
        return values.transpose(rows, columns) if symmetry & 4 else values

    cov = None if outputs.cov is None else back(outputs.cov, 1, 2)
    samples = None if outputs.samples is None else back(outputs.samples, 3, 4)
    return Outputs(back(outputs.mean, 2, 3), cov, samples)


def seen(wide: Any, size: int, view: View) -> Any:
    """The view [batch, 3, size, size] of images that are larger."""
    import torch

    top, left = (wide.shape[2] - size) // 2 + view.down, (wide.shape[3] - size) // 2 + view.right
    cut = wide[:, :, top : top + size, left : left + size]
    cut = cut.transpose(2, 3) if view.symmetry & 4 else cut
    axes = [axis for axis, bit in ((3, 1), (2, 2)) if view.symmetry & bit]
    return (cut.flip(axes) if axes else cut).contiguous(memory_format=torch.channels_last)


def of(model: Predictive, task: Averages, geometry: Geometry, augment: str, count: int) -> Views:
    """The model looking at `count` views of each image; with one, exactly the model.

    The views are the centre; its mirror images, where the training images were mirrored too (`augment`: then it is known
    that a mirror image is of the same class); squares moved towards the corners, mirrored in turn.

    Raises:
        BadSetting: when there are not so many views.
    """
    symmetries = _symmetries_of(augment)
    most = len(symmetries) * (1 + len(CORNERS))
    _require(
        count,
        most,
        f'With augment="{augment}" there are {len(symmetries)} of the centre and {most - len(symmetries)} moved ones.',
    )
    if count == 1:
        return Views(model, task, geometry, geometry.size, (View(),))
    margin = (geometry.short - geometry.size) // 2
    reach = max(margin, round(REACH * geometry.size))
    moved = (
        View(reach * down, reach * right, symmetries[(turn + place) % len(symmetries)])
        for turn in range(len(symmetries))
        for place, (down, right) in enumerate(CORNERS)
    )
    every = chain((View(symmetry=symmetry) for symmetry in symmetries), moved)
    wide = replace(geometry, size=geometry.size + 2 * margin)  # as much on each side, so that its centre is the plain view
    return Views(model, task, wide, geometry.size, tuple(view for view, _ in zip(every, range(count), strict=False)))


def of_places(model: Predictive, task: Averages, augment: str, count: int) -> Turned:
    """The model looking at all of each image and its mirror images, where the training images were mirrored too.

    Raises:
        BadSetting: when there are not so many views.
    """
    symmetries = _symmetries_of(augment)
    few = f'With augment="{augment}" there are {len(symmetries)}: all of the image, as it is and mirrored as in training.'
    _require(count, len(symmetries), few)
    return Turned(model, task, symmetries[:count])


def _symmetries_of(augment: str) -> tuple[int, ...]:
    """The symmetries of the square (see `View`) that training images were shown in."""
    rule = find_preset(augment)
    return tuple(range(8)) if rule.dihedral else (0, 1) if rule.flip else (0,)


def _require(count: int, most: int, there: str) -> None:
    """Raises `BadSetting` for a number of views that there are not."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= most:
        raise BadSetting(f"tta must be a whole number of views from 1 (the image as it is) to {most}, got {count!r}. {there}")
