"""Pictures for tests."""

import numpy as np
from PIL import Image


def shape_image(kind: str, number: int, side: int = 40) -> Image.Image:
    """A light square or disc on a dark, noisy ground; the same for the same arguments."""
    draw = np.random.default_rng(number * 7 + len(kind))
    pixels = draw.integers(0, 60, (side, side + 8, 3), dtype=np.uint8)
    y, x = np.mgrid[:side, : side + 8]
    row, column, radius = side / 2 + draw.integers(-4, 5), side / 2 + 4 + draw.integers(-4, 5), side / 4
    inside = {
        "disc": (y - row) ** 2 + (x - column) ** 2 < radius**2,
        "square": (abs(y - row) < radius) & (abs(x - column) < radius),
        "stripe": (y // 5) % 2 == 0,
    }[kind]
    pixels[inside] = pixels[inside] // 2 + np.array([150, 170, 190], np.uint8)
    return Image.fromarray(pixels)
