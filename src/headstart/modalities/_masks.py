"""Masks: images whose pixels are no colours but the numbers of classes."""

import colorsys
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from headstart.errors import DataError, StoreError
from headstart.modalities._decode import read_bytes
from headstart.modalities._signatures import shown

NUMBERS = frozenset({"1", "L", "P", "I", "I;16", "I;16B"})
"""Modes of images that hold one number for each pixel."""
GOLDEN = 0.61803398875


def read(path: str, name: str = "") -> Integer[np.ndarray, "height width"]:
    """The number of each pixel; of an image with a palette the number in it, not the colour.

    Raises:
        DataError: when it is no such image.
    """
    name = shown(name or path)
    data = read_bytes(path, name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in NUMBERS:
                raise DataError(
                    f"the mask {name} is a picture in colours (mode {image.mode}), and each of its pixels must be the number of its "
                    "class: 0, 1, 2, ... Save it as an 8-bit grey or palette PNG.",
                )
            found = np.array(image)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise nearly every built-in error on damaged files
        raise DataError(f"the mask {name} cannot be read as an image ({error}). Copy it again, or leave it out.") from error
    return found.astype(np.uint8) if found.dtype == bool else found


def nearest(mask: Integer[np.ndarray, "height width"], rows: int, columns: int) -> Integer[np.ndarray, "rows columns"]:
    """The mask with so many rows and columns: each place has the number of the pixel at its middle."""
    height, width = mask.shape
    if (height, width) == (rows, columns):
        return mask
    lines = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    places = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    return mask[np.ix_(lines, places)]


def colours(count: int) -> UInt8[np.ndarray, "count 3"]:
    """A colour for each class, neighbours far apart."""
    told = [
        colorsys.hsv_to_rgb((GOLDEN * place) % 1, 0.55 + 0.4 * (place % 2), 0.95 - 0.3 * (place % 3 == 2))
        for place in range(count)
    ]
    return (255 * np.array(told).reshape(-1, 3)).round().astype(np.uint8)


def key(names: Sequence[str], side: int = 14, columns: int = 6, cell: int = 166) -> Image.Image:
    """A picture that tells the colour of each class."""
    page = Image.new("RGB", (columns * cell, (side + 8) * -(-len(names) // columns) + 8), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for place, (name, colour) in enumerate(zip(names, colours(len(names)).tolist(), strict=True)):
        left, top = place % columns * cell + 6, place // columns * (side + 8)
        pen.rectangle((left, top, left + side, top + side), fill=tuple(colour))
        pen.text(
            (left + side + 6, top), "".join(each if each.isprintable() else "?" for each in name)[:20], fill="black", font=font
        )
    return page


def painted(
    pixels: UInt8[np.ndarray, "height width 3"], places: Integer[np.ndarray, "rows columns"], count: int, share: float = 0.6
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture with the class of each place as a colour over it; places of no class (`count` or more) stay as they are."""
    laid = nearest(places, *pixels.shape[:2])
    palette = np.vstack([colours(count), np.zeros((1, 3), np.uint8)])
    known = (laid < count)[..., None]
    colour = palette[np.minimum(laid, count)]
    mixed = (1 - share) * pixels + share * colour
    return np.where(known, mixed, pixels).round().astype(np.uint8)


def write(path: Path, numbers: UInt8[np.ndarray, "height width"], classes: dict[int, int]) -> None:
    """A PNG with a palette: programs read the numbers, people see colours. `classes` maps each number to the place of its class."""
    image = Image.fromarray(numbers, mode="P")
    palette = np.zeros((256, 3), np.uint8)
    every = colours(len(classes))
    for number, place in classes.items():
        palette[number] = every[place]
    image.putpalette(palette.tobytes())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    except OSError as error:
        raise StoreError(
            f"the mask {path} cannot be written: {error.strerror or error}. Name another folder for masks."
        ) from None
