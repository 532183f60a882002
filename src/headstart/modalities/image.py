"""Images, the public face: decode, fit, normalise, augment, show. Each part is one file beside this one."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

from headstart.core import BackboneSpec, InputWords, Named, Predictive, Settings
from headstart.errors import BadSetting, DataError
from headstart.modalities import _inputs, _views
from headstart.modalities._augment import PRESETS, Draws, Preset, augment, draw, find_preset
from headstart.modalities._decode import Decoded, ImageInfo, Reason, Unreadable, area, decode, load, read_bytes, size_of
from headstart.modalities._geometry import Geometry, centre, fit_short, known, normalise, scale, shrunk, to_input, window
from headstart.modalities._show import sheet
from headstart.modalities._signatures import shown

__all__ = [
    "PRESETS",
    "Decoded",
    "Draws",
    "Geometry",
    "ImageInfo",
    "Images",
    "Preset",
    "Reason",
    "Unreadable",
    "area",
    "as_it_is",
    "augment",
    "centre",
    "decode",
    "draw",
    "enlarged",
    "find_preset",
    "fit_short",
    "fitted",
    "load",
    "normalise",
    "of",
    "read",
    "read_bytes",
    "scale",
    "sheet",
    "shown",
    "shrunk",
    "size_of",
    "to_input",
    "window",
]


@dataclass(frozen=True, slots=True)
class Images(Geometry):
    """The modality: what is stored of an image are the bytes of its pixels, [size, size, 3] where it is predicted."""

    name = "image"
    store = "pixels"
    blends = True
    compiles = True

    @property
    def words(self) -> InputWords:
        mean, std = ([round(value, 3) for value in values] for values in (self.mean, self.std))
        described = (
            f"an RGB image whose short side is scaled to {self.short} pixels ({self.interpolation}), of which the centre "
            f"{self.size} x {self.size} is taken and normalised with mean {mean} and standard deviation {std}"
        )
        some = ('"photo.jpg"', "photo.jpg more_photos/")
        return InputWords("image", "images", f"{self.size} pixels", described, "image", *some)

    def to_input(self, stored: Any) -> Float[Any, "batch 3 size size"]:
        return to_input(stored, self)

    def draw(self, augment: str, seed: int, epoch: int, places: Integer[np.ndarray, " batch"]) -> Draws:
        return draw(augment, seed, epoch, places)

    def gathered(self, store: Any, indices: Sequence[int], draws: Draws) -> UInt8[np.ndarray, "batch short short 3"]:
        return store.windows(indices, draws.position.tolist())

    def augmented(self, stored: Any, draws: Draws, augment: str) -> Float[Any, "batch 3 size size"]:
        return _augmented(stored, draws, self, augment)

    def moved(self, targets: Any, draws: Draws, augment: str) -> Any:
        """The targets: a class stays what it is however the image is changed."""
        return targets

    def extent(self, source: Any) -> tuple[int, int] | None:
        """None: nothing is said of the places of an image."""

    def shrunk(self, inputs: Float[Any, "batch 3 height width"], size: int) -> Float[Any, "batch 3 size size"]:
        return shrunk(inputs, size)

    def named(self, inputs: Any) -> Iterator[Named]:
        return _inputs.named(inputs)

    def is_one(self, inputs: Any) -> bool:
        """Whether it is no folder and no list."""
        return not isinstance(inputs, list | tuple) and not (isinstance(inputs, str | Path) and Path(inputs).is_dir())

    def prepared(self, source: Any, name: str = "") -> UInt8[np.ndarray, "size size 3"]:
        """What the model sees of one image; the message about an image that cannot be read names it by its path."""
        if not isinstance(source, str | Path | bytes | np.ndarray | Image.Image):
            kind = type(source).__name__
            raise DataError(
                f"a {kind} is no image. Give a path, the bytes of a file, an array [height, width, 3] of uint8, or a PIL image."
            )
        return np.ascontiguousarray(centre(read(source, self).pixels, self.size))

    def stacked(self, examples: Sequence[UInt8[np.ndarray, "size size 3"]]) -> UInt8[np.ndarray, "batch size size 3"]:
        return np.stack(examples)

    def viewed(self, model: Predictive, task: Any, augment: str, count: int) -> "tuple[Predictive, Images]":
        seen = _views.of(model, task, self, augment, count)
        return seen, replace(self, size=seen.geometry.size)

    def accept(self, settings: Settings) -> None:
        """Everything: settings are made for images first."""

    def state(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def published(self) -> dict[str, Any]:
        """In the words of timm."""
        return {
            "input_size": [3, self.size, self.size],
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "crop_pct": self.size / self.short,
            "crop_mode": "center",
        }


_augmented = augment


def of(spec: BackboneSpec, size: int | None = None) -> Images:
    """How images become inputs of this backbone: at its own size, or at `size` pixels where it can take others.

    Raises:
        BadSetting: when the backbone takes one size only and another is asked for.
    """
    if size is not None and spec.fixed_size and size != spec.size:
        raise BadSetting(f"the backbone {spec.name} takes images of {spec.size} pixels only, got size={size}. Leave size out.")
    side = size if size is not None else spec.size
    crop = min(spec.crop_pct, 1.0) if spec.crop_pct > 0 else 1.0
    return Images(side, max(side, round(side / crop)), spec.mean, spec.std, known(spec.interpolation))


def plain(inputs: Sequence[str] = ()) -> Images:
    """For a look at images without a model."""
    return PLAIN


PLAIN = Images(size=224, short=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Decoded to what the default backbone takes, so that training finds the pixels in the cache."""


def read(source: str | Path | bytes | np.ndarray | Image.Image, geometry: Geometry, name: str = "") -> Decoded:
    """Pixels as the pixel store keeps them: upright RGB, short side `geometry.short`; their `centre` is what the model sees.

    Raises:
        Unreadable: with a reason and what to do; `name` is what the message calls the source.
    """
    image, info = fitted(source, geometry, name)
    return Decoded(np.array(image.convert("RGB")), info)


def fitted(
    source: str | Path | bytes | np.ndarray | Image.Image, geometry: Geometry, name: str = ""
) -> tuple[Image.Image, ImageInfo]:
    """As `read`, still a PIL image of mode L or RGB."""
    image, info, box = load(source, geometry.short, name)
    return geometry.fit(image, box, (info.width, info.height)), info


def as_it_is(source: bytes | np.ndarray, geometry: Geometry, name: str = "") -> tuple[Image.Image, ImageInfo]:
    """As `fitted`, but an image that would only be enlarged stays as it is: `enlarged` does the rest when it is read."""
    image, info, box = load(source, geometry.short, name)
    if geometry.may_wait(image):
        return image, info
    return geometry.fit(image, box, (info.width, info.height)), info


def enlarged(pixels: UInt8[np.ndarray, "height width 3"], geometry: Geometry) -> UInt8[np.ndarray, "fit_height fit_width 3"]:
    """The pixels that `read` gives, of an image kept `as_it_is`."""
    return pixels if min(pixels.shape[:2]) >= geometry.short else fit_short(pixels, geometry.short, geometry.interpolation)
