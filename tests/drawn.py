"""Pictures for tests."""

from pathlib import Path

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


def masked_folder(root: Path, count: int = 20, side: int = 32, parts: bool = False) -> Path:
    """A folder of images with masks: bright boxes, red (1) or blue (2), on a noisy ground (0), framed by what nobody knows (255)."""
    for number in range(count):
        draw = np.random.default_rng(number)
        pixels = draw.integers(0, 60, (side, side + 8, 3), dtype=np.uint8)
        mask = np.zeros((side, side + 8), np.uint8)
        for kind in (1, 2):
            top, left = draw.integers(1, side // 2, 2)
            box = (slice(top, top + side // 3), slice(left, left + side // 3))
            pixels[box] = (230, 40, 40) if kind == 1 else (40, 40, 230)
            mask[box] = kind
        mask[0] = 255
        part = ("valid" if number % 4 == 0 else "train") if parts else ""
        for name, array in (("images", pixels), ("masks", mask)):
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / f"{number:03d}.png")
    return root
