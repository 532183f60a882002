"""Changes of pictures that take away one thing and leave the rest, and numbers that say how much of it is there."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

Pixels = UInt8[np.ndarray, "batch height width 3"]
Numbers = Float[np.ndarray, "batch numbers"]
CORNER, EDGE = 0.2, 0.06
"""Sides of a corner and width of the border, in sides of the picture."""
SOFT = 3
"""Pixels of the square over which fine detail is averaged, twice."""


@dataclass(frozen=True)
class Change:
    """One thing that a picture can carry without showing what it is a picture of."""

    name: str
    take: Callable[[Pixels], Pixels]
    """The pictures without it, or all with the same of it."""
    tell: Callable[[Pixels], Numbers]
    """Numbers that say how much of it there is in each."""


def filled(pixels: Pixels, inside: np.ndarray) -> Pixels:
    """With the middle colour of each picture where `inside` [height, width] says."""
    middle = np.median(pixels[:, ::4, ::4], axis=(1, 2), keepdims=True).astype(np.uint8)
    return np.where(inside[None, :, :, None], middle, pixels)


def corners(height: int, width: int) -> dict[str, np.ndarray]:
    """Where each corner is."""
    down, right = round(CORNER * height), round(CORNER * width)
    found = {}
    for vertical, rows in (("top", slice(0, down)), ("bottom", slice(height - down, height))):
        for horizontal, columns in (("left", slice(0, right)), ("right", slice(width - right, width))):
            inside = np.zeros((height, width), bool)
            inside[rows, columns] = True
            found[f"the {vertical} {horizontal} corner"] = inside
    return found


def border(height: int, width: int) -> np.ndarray:
    """Where the border is."""
    thick = max(1, round(EDGE * min(height, width)))
    inside = np.ones((height, width), bool)
    inside[thick:-thick, thick:-thick] = False
    return inside


def tints(pixels: Pixels) -> Numbers:
    """How much redder and bluer than green, and redder than blue, a picture is on the whole, and how bright."""
    red, green, blue = np.moveaxis(pixels[:, ::2, ::2].reshape(len(pixels), -1, 3).mean(1, dtype=np.float64), 1, 0)
    return np.stack([red - green, blue - green, red - blue, (red + green + blue) / 3], 1)


def untinted(pixels: Pixels) -> Pixels:
    """With the same mean colour in every picture: a middle grey."""
    values = pixels.astype(np.float32)
    return np.clip(values - values.mean((1, 2), keepdims=True) + 118.0, 0, 255).astype(np.uint8)


def looks(pixels: Pixels, inside: np.ndarray) -> Numbers:
    """Of a part of each picture how bright, red and blue it is, and how uneven.

    Beware: beside the rest of the picture, it would tell what the rest shows.
    """
    part = pixels[:, inside].astype(np.float32)
    red, green, blue = np.moveaxis(part.mean(1), 1, 0)
    colours = (red - green, blue - green, red - blue)
    return np.stack([part.mean((1, 2)), *colours, part.mean(2).std(1)], 1).astype(np.float64)


def softened(pixels: Pixels) -> Pixels:
    """Without fine detail: each pixel the mean of a square, twice."""
    import torch
    from torch.nn import functional

    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    for _ in range(2):
        values = functional.avg_pool2d(values, SOFT, 1, SOFT // 2, count_include_pad=False)
    return values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def details(pixels: Pixels) -> Numbers:
    """The logarithm of how much changes from each pixel to the next, and of how much of that is left when it is softened."""
    grey, soft = (each.astype(np.float32).mean(3) for each in (pixels, softened(pixels)))
    fine, rough = (
        np.abs(np.diff(each, axis=2)).mean((1, 2)) + np.abs(np.diff(each, axis=1)).mean((1, 2)) for each in (grey, soft)
    )
    return np.stack([np.log(fine + 0.1), np.log((fine + 0.1) / (rough + 0.1))], 1).astype(np.float64)


def all_changes(height: int, width: int) -> list[Change]:
    """Every change of pictures of this size."""
    parts = {"the border": border(height, width), **corners(height, width)}
    return [
        Change("the tint", untinted, tints),
        Change("how fine the detail is", softened, details),
        *(
            Change(
                name, lambda pixels, inside=inside: filled(pixels, inside), lambda pixels, inside=inside: looks(pixels, inside)
            )
            for name, inside in parts.items()
        ),
    ]
