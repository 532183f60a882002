"""What is told of every place of an image."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from headstart.core import Row
from headstart.modalities import _masks
from headstart.tasks._arrays import machine_row, precise

TOLD = 3
"""Classes that are named in a text, the largest first."""


@dataclass(frozen=True)
class SegmentationPrediction:
    """What is told of one image: the class of each of its pixels. `error` says why there is nothing.

    `logits` [classes, rows, columns] are what the model said; `height` and `width` are those of the image.
    """

    id: str
    logits: Float[Tensor, "classes rows columns"] | None = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    numbers: tuple[int, ...] = field(repr=False)
    height: int = 0
    width: int = 0
    file: str | None = None
    total: float | None = None
    aleatoric: float | None = None
    epistemic: float | None = None
    answer: None = None
    promised: bool | None = None
    ood: float | None = None
    error: str | None = None

    @property
    def values(self) -> Float[np.ndarray, "classes height width"] | None:
        """The probability of each class at each pixel."""
        return None if self.logits is None else at_size(precise(self.logits)[None], self._size)[0].softmax(0).numpy()

    @cached_property
    def places(self) -> UInt8[np.ndarray, "height width"] | None:
        """The place in `classes` of the class of each pixel; None if it could not be read.

        A class at a time: of a large photograph the probabilities of all classes together would fill the memory.
        """
        if self.logits is None:
            return None
        best, found = None, torch.zeros(self._size, dtype=torch.uint8)
        for place, logits in enumerate(precise(self.logits)):
            said = at_size(logits[None, None], self._size)[0, 0]
            if best is not None:
                found[said > best] = place
            best = said if best is None else torch.maximum(best, said)
        return found.numpy()

    @property
    def mask(self) -> UInt8[np.ndarray, "height width"] | None:
        """The number of the class of each pixel, as in the masks that were learned from; None if it could not be read."""
        return None if (places := self.places) is None else np.array(self.numbers, np.uint8)[places]

    @property
    def shares(self) -> dict[str, float]:
        """The share of the image that each class covers; empty if it could not be read."""
        if (places := self.places) is None:
            return {}
        counts = np.bincount(places.ravel(), minlength=len(self.classes))
        return dict(zip(self.classes, (counts / counts.sum()).tolist(), strict=True))

    @property
    def text(self) -> str:
        """The classes that cover most of it."""
        return "" if self.logits is None else told(self.shares)

    @property
    def probability(self) -> float | None:
        """None: each place has its own."""
        return None

    def at(self, height: int, width: int) -> "SegmentationPrediction":
        """The same for an image of this size."""
        return replace(self, height=height, width=width)

    def saved(self, folder: Path) -> "SegmentationPrediction":
        """The same, with its mask in a PNG file there: the numbers of the classes, shown in colours by a palette.

        `photos/1.jpg` becomes `photos/1.jpg.png` in the folder.

        Raises:
            StoreError: where it cannot be written.
        """
        if (mask := self.mask) is None:
            return self
        file = folder / f"{_inside(self.id)}.png"
        _masks.write(file, mask, {number: place for place, number in enumerate(self.numbers)})
        kept = replace(self, file=str(file))
        kept.__dict__["places"] = self.places  # the same image: it need not be looked at again
        return kept

    def painted(
        self, pixels: UInt8[np.ndarray, "any_height any_width 3"], target: Integer[Tensor, "rows columns"] | None
    ) -> UInt8[np.ndarray, "taller width 3"]:
        """The picture with what is known laid over it, and below it the same with what is said."""
        count = len(self.classes)
        if self.height:  # as the model sees it, it has lost its proportions
            pixels = np.asarray(Image.fromarray(pixels).resize((self.width, self.height)))
        said = [] if (places := self.places) is None else [_masks.painted(pixels, places, count)]
        known = [] if target is None else [_masks.painted(pixels, target.numpy(), count)]
        return np.concatenate([*known, *said] or [pixels])

    @property
    def _size(self) -> tuple[int, int]:
        """Of the image; of what the model said where that is not known."""
        if self.height:
            return self.height, self.width
        assert self.logits is not None, "an image that could not be read has no places"
        return self.logits.shape[1], self.logits.shape[2]

    def row(self) -> Row:
        """The machine-readable contract of `predict --json`; `mask` is the file that `saved` wrote."""
        return machine_row(self, mask=self.file, shares=None if self.logits is None else self.shares)

    def __repr__(self) -> str:
        return f"Prediction({self.error if self.logits is None else self.text}{f' -> {self.file}' if self.file else ''})"


def _inside(id: str) -> PurePosixPath:
    """The path of an example inside a folder of one's own, so that no two examples share a file."""
    words = (
        "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in part) for part in re.split(r"[/\\]+", id)
    )
    kept = ["__" if word == ".." else word for word in words if word not in ("", ".")]
    return PurePosixPath(*(kept or ["image"]))


def told(shares: dict[str, float]) -> str:
    """The classes that cover most, in words."""
    largest = sorted(shares.items(), key=lambda item: -item[1])[:TOLD]
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in largest if share >= 0.005) or "nothing that is known"


def at_size(
    said: Float[Tensor, "batch classes rows columns"], size: Sequence[int]
) -> Float[Tensor, "batch classes height width"]:
    """Logits or probabilities between the places where they were said."""
    return said if said.shape[2:] == torch.Size(size) else functional.interpolate(said, size=tuple(size), mode="bilinear")
