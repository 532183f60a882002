"""Images of which every place matters: seen whole, and what is known of their places changes with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from headstart.core import BackboneSpec, InputWords, Predictive, Settings
from headstart.errors import BadSetting
from headstart.modalities import _augment, _views, image
from headstart.modalities._geometry import Whole, known

FINER = 2
"""Pixels of the input for one place of the targets in training."""


@dataclass(frozen=True, slots=True)
class Scenes(Whole, image.Images):
    """The modality: as for images, without a centre that is cut out."""

    name = "scene"
    blends = False

    @property
    def words(self) -> InputWords:
        mean, std = ([round(value, 3) for value in values] for values in (self.mean, self.std))
        described = (
            f"an RGB image, all of it, scaled to {self.size} x {self.size} pixels ({self.interpolation}) whatever its proportions and "
            f"normalised with mean {mean} and standard deviation {std}"
        )
        return InputWords("image", "images", f"{self.size} pixels", described, "image", '"photo.jpg"', "photo.jpg more_photos/")

    def moved(self, targets: Shaped[Any, "batch *places"], draws: image.Draws, augment: str) -> Shaped[Any, "batch *side"]:
        """Masks as the images are changed, of half their side, each place of one class; one answer for an image stays what it is."""
        if targets.ndim < 3:
            return targets
        return _augment.moved(targets, draws, self.size // FINER)

    def extent(self, source: Any) -> tuple[int, int] | None:
        """Of an image, upright."""
        if isinstance(source, np.ndarray):
            return source.shape[0], source.shape[1]
        return image.size_of(source)

    def viewed(self, model: Predictive, task: Any, augment: str, count: int) -> "tuple[Predictive, Scenes]":
        """The model looking at `count` views of each: as it is, and mirrored as in training (see `_views`)."""
        return _views.of_places(model, task, augment, count), self

    def accept(self, settings: Settings) -> None:
        """Everything but what mixes images or makes them smaller.

        Raises:
            BadSetting: for `mixup`, `cutmix` and `train_size`.
        """
        for name in ("mixup", "cutmix", "train_size"):
            if getattr(settings, name):
                raise BadSetting(
                    f"{name} is for images with one answer, got {getattr(settings, name)!r} for masks. Leave it out."
                )


def of(spec: BackboneSpec, size: int | None = None) -> Scenes:
    """How scenes become inputs of this backbone; `size` must be its own, for which its maps were measured."""
    side = size or spec.size
    if side != spec.size:
        raise BadSetting(f"the backbone {spec.name} was made for images of {spec.size} pixels here, got size={size}.")
    return Scenes(side, side, spec.mean, spec.std, known(spec.interpolation))


def plain(inputs: Sequence[str] = ()) -> Scenes:
    """For a look at scenes without a model."""
    return Scenes(448, 448, image.PLAIN.mean, image.PLAIN.std)
