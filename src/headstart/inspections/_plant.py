"""Traces with a known answer, drawn by a seed: what inspections are judged by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from headstart.backbones import from_module
from headstart.backbones._wrapped import seeded
from headstart.core import Finding, Settings, Strip
from headstart.inspections._trace import Layer, Look, Trace
from headstart.model import Model, build
from headstart.seeds import numpy_generator
from headstart.tasks.single_label import SingleLabel
from headstart.train import summary


@dataclass(frozen=True)
class Plant:
    """A trace with a fault that the inspection must find, and the same without it, of which it must not complain."""

    faulty: Trace
    clean: Trace
    found: Callable[[Finding], bool]
    """Whether the finding of the faulty trace names what was planted."""


def trace(
    said: Float[np.ndarray, "examples classes"],
    truth: Int[np.ndarray, " examples"],
    valid: np.ndarray | None = None,
    **known: object,
) -> Trace:
    """Of a model that says this of examples of these classes; every second is for validation, if nothing else is said."""
    count, classes = said.shape
    task = SingleLabel(tuple(f"class {number}" for number in range(classes)))
    valid = np.arange(count) % 2 == 0 if valid is None else valid
    look = Look(said.astype(np.float32), (), said.astype(np.float32))
    known = {"after": look, "classes": truth, **known}
    return Trace(task, tuple(f"{number}.jpg" for number in range(count)), valid, torch.from_numpy(truth), **known)  # pyright: ignore[reportArgumentType]


def logits(
    truth: Int[np.ndarray, " examples"], classes: int, seed: int, margin: float = 4.0
) -> Float[np.ndarray, "examples classes"]:
    """What a good model says of examples of these classes: the true one ahead by `margin` nats, and noise of deviation one."""
    noise = numpy_generator(seed, "plant", "logits").standard_normal((len(truth), classes))
    return noise + margin * np.eye(classes)[truth]


def layer(name: str, values: Float[np.ndarray, "examples channels"]) -> Layer:
    """Whose channels have these means and maxima, all at the first of four places."""
    values = values.astype(np.float32)
    return Layer(name, (2, 2), values, values, np.zeros(values.shape, np.int32))


@dataclass(frozen=True)
class Squares:
    """Pictures with a square somewhere whose colour is the class; the faulty model reads it, the clean one looks at nothing."""

    faulty: Trace
    clean: Trace
    spots: Int[np.ndarray, "pictures 2"]
    side: int = 16

    def cut(self, name: str, values: Float[np.ndarray, "height width"] | Int[np.ndarray, "height width"]) -> np.ndarray:
        """The part of a map of this picture where its square lies."""
        row, column = self.spots[int(name.removesuffix(".jpg"))]
        return values[row : row + self.side, column : column + self.side]

    def inside(self, name: str, row: int, column: int, margin: int) -> bool:
        """Whether a place lies in the square of this picture, or as near as this."""
        top, left = self.spots[int(name.removesuffix(".jpg"))]
        return bool(
            abs(row - top - self.side / 2) <= self.side / 2 + margin
            and abs(column - left - self.side / 2) <= self.side / 2 + margin
        )


def warmth(strip: Strip) -> Int[np.ndarray, "height width"]:
    """How much more orange than blue the map of a strip is at each place: what it says for the answer."""
    pixels = strip.pictures[1].pixels.astype(np.int64)
    return pixels[..., 0] - pixels[..., 2]


def squares(seed: int) -> Squares:
    """24 pictures of 56 pixels, drawn by the seed."""
    draw = numpy_generator(seed, "plant", "evidence")
    truth, side, cell = np.arange(24) // 2 % 2, 56, 8
    spots = draw.integers(0, side // cell - 1, (24, 2)) * cell
    pixels = np.full((24, side, side, 3), 40, np.uint8)
    for image, colour, (row, column) in zip(pixels, truth, spots, strict=True):
        image[row : row + 2 * cell, column : column + 2 * cell, colour] = 250

    def shown(places: Sequence[int]) -> UInt8[np.ndarray, "batch 56 56 3"]:
        return pixels[list(places)]

    def inputs(places: Sequence[int]) -> Tensor:
        return torch.from_numpy(shown(places)).permute(0, 3, 1, 2).float() / 255

    def known(model: Model) -> Trace:
        said = model(inputs(range(24))).detach().numpy()
        return trace(said, truth, pictures=shown, inputs=inputs, model=model, stages=summary.of(model, Settings(), False))

    return Squares(known(_painted(1.0)), known(_painted(0.0)), spots)


def _painted(strength: float) -> Model:
    """A model that tells red from green by the mean over the places, or says nothing."""
    with seeded(0, "evidence"):  # the first weights of a layer are drawn
        look = nn.Conv2d(3, 3, 8, stride=8, bias=False)
    with torch.no_grad():
        look.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 8, 8) / 64)
    model = build(from_module.build(look, 56), 2)
    with torch.no_grad():
        model.head.weight.copy_(strength * torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]))
    return model.eval()
