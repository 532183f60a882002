"""Images, the public face: decode, fit, normalise, augment, show. Each part is one file beside this one."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from headstart.core import Geometry
from headstart.modalities._augment import PRESETS, Draws, Preset, augment, draw, find_preset
from headstart.modalities._decode import Decoded, ImageInfo, Reason, Unreadable, area, decode, load, read_bytes
from headstart.modalities._geometry import LONGEST, centre, fit_short, geometry, normalise, scale, shrunk, to_input, window
from headstart.modalities._show import sheet
from headstart.modalities._signatures import shown

__all__ = [
    "PRESETS",
    "Decoded",
    "Draws",
    "ImageInfo",
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
    "geometry",
    "load",
    "normalise",
    "read",
    "read_bytes",
    "scale",
    "sheet",
    "shown",
    "shrunk",
    "to_input",
    "window",
]


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
    return scale(image, geometry.short, geometry.interpolation, box, (info.width, info.height)), info


def as_it_is(source: bytes | np.ndarray, geometry: Geometry, name: str = "") -> tuple[Image.Image, ImageInfo]:
    """As `fitted`, but an image that would only be enlarged stays as it is: `enlarged` does the rest when it is read."""
    image, info, box = load(source, geometry.short, name)
    if min(image.size) < geometry.short and max(image.size) <= LONGEST * min(image.size):
        return image, info
    return scale(image, geometry.short, geometry.interpolation, box, (info.width, info.height)), info


def enlarged(pixels: UInt8[np.ndarray, "height width 3"], geometry: Geometry) -> UInt8[np.ndarray, "fit_height fit_width 3"]:
    """The pixels that `read` gives, of an image kept `as_it_is`."""
    return pixels if min(pixels.shape[:2]) >= geometry.short else fit_short(pixels, geometry.short, geometry.interpolation)
