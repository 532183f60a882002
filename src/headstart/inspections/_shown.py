"""One picture that is asked about: what the model says of it, what hiding its parts does, and how a map is laid over it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from headstart.backbones._wrapped import as_eval
from headstart.core import Outputs, Picture, Strip, Task
from headstart.model import Model

PARTS, WIDE = 7, 3
"""Rows and columns of the places around which the image is hidden, one after another, and how many of these parts wide: what is left
beside a narrower window mostly suffices for the answer (docs/log.md)."""
BLUR = 16
FOR, AGAINST = (230, 97, 1), (33, 102, 172)
"""Orange and blue, which people tell apart who see few colours."""


@dataclass(frozen=True)
class Shown:
    """A picture as the model sees it, and what the model makes of it."""

    id: str
    pixels: UInt8[np.ndarray, "height width 3"]
    input: Float[Tensor, "one 3 height width"]
    model: Model
    task: Task
    label: str | None = None
    """In words; None where it has none."""

    @cached_property
    def logits(self) -> Float[Tensor, " classes"]:
        """What the model says, without its posterior."""
        with torch.inference_mode(), as_eval(self.model):
            return self.model(self.input)[0]

    @cached_property
    def said(self) -> int:
        """The number of the class that it says, or of the highest of the labels or numbers; how much they scatter is no answer."""
        return int(self.logits[: len(self.task.names)].argmax())

    @property
    def name(self) -> str:
        """Of what is said."""
        return self.task.names[self.said]

    @cached_property
    def text(self) -> str:
        """What it says, in words."""
        return self.told(self.logits)

    def told(self, logits: Float[Tensor, " classes"] | Float[np.ndarray, " classes"]) -> str:
        """What outputs like these say, in words."""
        return self.task.predict(Outputs(torch.as_tensor(logits)[None].float().cpu()), [self.id])[0].text

    @property
    def asks(self) -> Float[Tensor, " classes"]:
        """The answer that is explained, as weights of the outputs."""
        return asked(self.said, len(self.logits), self.task.divides)

    @cached_property
    def features(self) -> Float[np.ndarray, " features"]:
        """Of the body as it is now."""
        with torch.inference_mode(), as_eval(self.model):
            return self.model.backbone.features(self.input)[0].float().cpu().numpy()

    @cached_property
    def without(self) -> Float[np.ndarray, "parts parts classes"]:
        """What the model says where the picture is blurred away around each of PARTS x PARTS places."""
        with torch.inference_mode(), as_eval(self.model):
            pieces = hidden(self.input).split(PARTS * PARTS)
            logits = torch.cat([self.model(piece) for piece in pieces])
        return logits.reshape(PARTS, PARTS, -1).double().cpu().numpy()

    @cached_property
    def falls(self) -> Float[np.ndarray, "parts parts"]:
        """By how much the answer that is explained falls then."""
        asks = self.asks.numpy()
        return self.logits.double().cpu().numpy() @ asks - self.without @ asks

    def beside(self, *others: Picture) -> Strip:
        """The picture with others that are about it."""
        return Strip(self.title, (Picture(self.pixels, "the image", self.id), *others), self.id)

    @property
    def title(self) -> str:
        """What it says, and what the picture is labelled where that is another thing."""
        return self.text if self.label in (None, self.text) else f"{self.text}, labelled {self.label}"


def asked(said: int, outputs: int, divides: bool) -> Float[Tensor, " outputs"]:
    """Weights of the outputs: this one over the mean of all where they share one belief, this one alone where each is by itself."""
    weights = torch.zeros(outputs, dtype=torch.float64)
    weights[said] = 1.0
    return weights - 1.0 / outputs if divides else weights


def hidden(x: Float[Tensor, "one 3 height width"]) -> Float[Tensor, "parts 3 height width"]:
    """The input with its surroundings blurred away around one place after another."""
    height, width = x.shape[2:]
    blurred = blur(x)
    rows, columns = (windows(size) for size in (height, width))
    pieces = x.repeat(PARTS * PARTS, 1, 1, 1)
    for number in range(PARTS * PARTS):
        part = (slice(None), rows[number // PARTS], columns[number % PARTS])
        pieces[number][part] = blurred[0][part]
    return pieces


def blur(x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Only what is larger than a sixteenth of the side is left."""
    height, width = x.shape[2:]
    small = functional.adaptive_avg_pool2d(x, (max(1, height // BLUR), max(1, width // BLUR)))
    return functional.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)


def windows(size: int) -> list[slice]:
    """Around the middle of each part, `WIDE` parts wide."""
    middles = [(number + 0.5) * size / PARTS for number in range(PARTS)]
    half = WIDE * size / PARTS / 2
    return [slice(max(0, round(middle - half)), min(size, round(middle + half))) for middle in middles]


def laid_over(
    pixels: UInt8[np.ndarray, "height width 3"], places: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in grey with what speaks for the answer in orange and what speaks against it in blue."""
    height, width = pixels.shape[:2]
    wide = functional.interpolate(
        torch.from_numpy(places)[None, None], size=(height, width), mode="bilinear", align_corners=False
    )
    share = wide[0, 0].numpy() / max(float(np.abs(places).max()), 1e-12)
    grey = pixels.astype(np.float64).mean(2, keepdims=True)
    strength = np.clip(np.abs(share), 0.0, 1.0)[:, :, None] * 0.75
    colour = np.where(share[:, :, None] >= 0, np.array(FOR, np.float64), np.array(AGAINST, np.float64))
    return np.clip((1 - strength) * grey + strength * colour, 0, 255).astype(np.uint8)
