"""From decoded pixels to model input: scale, cut, normalise. The one place where a `Geometry` is carried out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from headstart.errors import unknown_name

LONGEST = 4
"""Panoramas are cut at the centre to this ratio of long to short side before they are scaled."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """From decoded pixels to model input.

    An image is scaled (antialiased, aspect kept, never enlarged beyond need) so that its short side is `short`, and the
    centre `size` x `size` of it is what the model sees when it predicts. `mean` and `std` are per channel on the 0-1 scale.
    """

    size: int
    short: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"

    @property
    def stored_as(self) -> tuple[Any, ...]:
        """Names what `fit` does: equal names, equal pixels."""
        return self.short, self.interpolation

    def fit(self, image: Image.Image, box: tuple[float, float, float, float], full: tuple[int, int]) -> Image.Image:
        """The image as it is stored; `box` is the part of it that holds the picture, `full` the size that it had."""
        return scale(image, self.short, self.interpolation, box, full)

    def may_wait(self, image: Image.Image) -> bool:
        """Whether `fit` would only enlarge it, which can be done as well when it is read."""
        return min(image.size) < self.short and max(image.size) <= LONGEST * min(image.size)


@dataclass(frozen=True, slots=True)
class Whole(Geometry):
    """All of the image, squeezed or stretched into the square: nothing is cut off, and its proportions are lost."""

    @property
    def stored_as(self) -> tuple[Any, ...]:
        return self.short, self.interpolation, "whole"

    def fit(self, image: Image.Image, box: tuple[float, float, float, float], full: tuple[int, int]) -> Image.Image:
        side = (self.short, self.short)
        if image.size == side and box == (0, 0, *side):
            return image
        return image.resize(side, _FILTERS[self.interpolation], box=box)

    def may_wait(self, image: Image.Image) -> bool:
        return False


_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


def known(interpolation: str) -> str:
    """The filter of that name; timm's "random" is bicubic."""
    if interpolation == "random":
        return "bicubic"
    if interpolation not in _FILTERS:
        raise unknown_name("interpolation", interpolation, _FILTERS)
    return interpolation


def scale(
    image: Image.Image,
    short: int,
    interpolation: str,
    box: tuple[float, float, float, float] | None = None,
    full: tuple[int, int] | None = None,
) -> Image.Image:
    """The image with its short side exactly `short`, antialiased, the long side at most `LONGEST` times that.

    `box` is the part of the image that holds the picture and `full` the size that the picture had before it was reduced;
    both are by default those of the image.
    """
    left, top, right, bottom = box or (0, 0, *image.size)
    width, height = full or image.size
    least = min(width, height)
    kept = (min(width, least * LONGEST), min(height, least * LONGEST))
    cut = ((right - left) * (1 - kept[0] / width) / 2, (bottom - top) * (1 - kept[1] / height) / 2)
    target = (short, round(kept[1] * short / least)) if width <= height else (round(kept[0] * short / least), short)
    box = (left + cut[0], top + cut[1], right - cut[0], bottom - cut[1])
    if target == image.size and box == (0, 0, *image.size):
        return image
    return image.resize(target, _FILTERS[interpolation], box=box)


def fit_short(
    pixels: UInt8[np.ndarray, "height width 3"], short: int, interpolation: str = "bicubic"
) -> UInt8[np.ndarray, "fit_height fit_width 3"]:
    """The pixels with their short side exactly `short`: antialiased, small ones enlarged, panoramas cut to 4:1 at the centre."""
    return np.array(scale(Image.fromarray(np.ascontiguousarray(pixels)), short, known(interpolation)))


def centre(pixels: UInt8[np.ndarray, "height width 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The `size` x `size` cut from the middle, a view."""
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


def window(pixels: UInt8[np.ndarray, "height width 3"], short: int, position: float) -> UInt8[np.ndarray, "short short 3"]:
    """The `short` x `short` cut at `position` (0 = left or top, 1 = right or bottom) along the long side, a view."""
    top, left = (round((side - short) * position) for side in pixels.shape[:2])
    return pixels[top : top + short, left : left + short]


def shrunk(inputs: Float[Any, "batch 3 height width"], size: int) -> Float[Any, "batch 3 size size"]:
    """The same images at `size` x `size`, antialiased, in channels_last memory on their device."""
    import torch
    from torch.nn import functional

    scaled = functional.interpolate(inputs, size=(size, size), mode="bilinear", antialias=True)
    return scaled.contiguous(memory_format=torch.channels_last)


def to_input(pixels: UInt8[Any, "batch size size 3"], geometry: Geometry) -> Float[Any, "batch 3 size size"]:
    """Bytes on the scale 0-1, less the mean, by the standard deviation: float32, channels_last in memory, on the same device."""
    return normalise(pixels.permute(0, 3, 1, 2), geometry)


def normalise(values: Any, geometry: Geometry) -> Float[Any, "batch 3 height width"]:
    """`values` [batch, 3, height, width] on the scale 0-255 as the model wants them; the memory layout is kept."""
    import torch

    mean, std = (
        torch.tensor(each, dtype=torch.float64).mul(255).float().to(values.device).view(1, 3, 1, 1)
        for each in (geometry.mean, geometry.std)
    )
    return values.to(torch.float32).sub(mean).div_(std)
