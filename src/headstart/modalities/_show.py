"""Contact sheets: many images on one page, with a line of text below each."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps

_GAP = 6
_TEXT = 16


def sheet(
    images: Sequence[UInt8[np.ndarray, "height width 3"] | Image.Image],
    captions: Sequence[str] = (),
    columns: int = 6,
    side: int = 160,
) -> Image.Image:
    """One picture that shows all `images` in rows of `columns`, each within `side` pixels, its caption below."""
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    cell = side + _GAP
    tall = cell + (_TEXT if captions else 0)
    page = Image.new("RGB", (columns * cell + _GAP, rows * tall + _GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for i, image in enumerate(images):
        left, top = _GAP + i % columns * cell, _GAP + i // columns * tall
        picture = image.convert("RGB") if isinstance(image, Image.Image) else Image.fromarray(image)
        small = ImageOps.contain(picture, (side, side))
        page.paste(small, (left + (side - small.width) // 2, top + (side - small.height) // 2))
        if i < len(captions):
            pen.text((left, top + side + 1), _shortened(captions[i], pen, font, side), fill="black", font=font)
    return page


def _shortened(text: str, pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text cut to one line of `width` pixels, with an ellipsis where it was longer."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode()).split())
    if pen.textlength(line, font) <= width:
        return line
    while line and pen.textlength(line + "…", font) > width:
        line = line[:-1]
    return line + "…"
