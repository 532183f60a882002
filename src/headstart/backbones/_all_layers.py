"""A backbone whose head sees what every layer makes of an image, and not the last one alone.

The last layers of a network were trained to forget what did not matter for the classes that it was published with: textures, materials,
fine detail. A head on the means and maxima of the channels of all layers, beside the usual features, finds them again, by the same forward
(Evci, Dumoulin, Larochelle and Mozer 2022, "Head2Toe: utilizing intermediate representations for better transfer learning").

The head has one prior for all its weights, so each block of numbers is brought to about half the spread of the features, however many
numbers it has. How far blocks spread is measured once, on drawn pictures with the spectrum of photographs, and rounded to a power of two,
so that it is the same on every machine and known before any example is seen (docs/log.md).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headstart.backbones import _layers as layers
from headstart.backbones._wrapped import Stage, Wrapped, as_eval, one_thread
from headstart.errors import BadSetting
from headstart.seeds import numpy_generator

BESIDE = 0.5
"""Of the spread of the features, that of each block beside them."""
DRAWN, USUAL, FEWEST = 32, 224, 4
"""Pictures of the usual size that the spread is measured on; of larger ones as many as have as many places, and at least so many."""
AT_ONCE = 4
CONTRAST, COLOUR = 0.45, 0.4
"""Of the drawn pictures, in units of the network's input."""


class NoLayers(BadSetting):
    """A network gives no maps before its last layer."""


class AllLayers(Wrapped):
    """The features of another backbone, and behind them mean and maximum of every channel of each of its layers that gives maps.

    `scales` are what the blocks are multiplied by, measured where they are not given.
    """

    scales: Tensor

    def __init__(self, inner: Wrapped, scales: Sequence[float] | None = None) -> None:
        super().__init__(inner.net, inner.spec, inner.kind, inner.architecture, None, None, None, inner.notes)
        self._inner = (inner,)  # in a tuple, or its weights would be counted twice
        with torch.no_grad(), as_eval(inner.net), one_thread():
            features, maps = layers.seen(inner, self._drawn(1))
        if maps and list(maps.values())[-1].shape[1] == features.shape[1]:
            maps.popitem()  # the features are made of it
        if not maps:
            raise NoLayers(
                f"the backbone {inner.spec.name} gives no maps of an image from its layers, so there is nothing beside its features. "
                'Leave features="layers" out.'
            )
        self._layers = tuple(maps)
        self.spec = replace(inner.spec, width=features.shape[1] + 2 * sum(each.shape[1] for each in maps.values()))
        measured = self._measured() if scales is None else scales
        self.register_buffer("scales", torch.tensor(list(measured), dtype=torch.float32))

    @property
    def bare(self) -> Wrapped:
        """The backbone that it was made of, whose features are those of its last layer."""
        return self._inner[0]

    @property
    def has_maps(self) -> bool:
        return self.bare.has_maps

    @property
    def dress(self) -> dict[str, list[float]]:
        """The scales, for `dressed` to make the same of the bare backbone."""
        return {"scales": self.scales.tolist()}

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features"]:
        return self.together(self.blocks(x))

    def together(self, blocks: Sequence[Float[Tensor, "batch _"]]) -> Float[Tensor, "batch features"]:
        """One row of features of an example from its blocks, each at its scale."""
        first, *others = blocks
        return torch.cat([first, *(block * scale for block, scale in zip(others, self.scales, strict=True))], 1)

    def blocks(self, x: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch _"]]:
        """The features of the last layer, then means and maxima of each that gives maps, as the network gives them."""
        first, maps = self.seen(x)
        return [first, *pooled_both(maps)]

    def seen(self, x: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _"], list[Tensor]]:
        """The features of the last layer, and the maps of the layers beside it, the first one first."""
        features, maps = layers.seen(self.bare, x, self._layers)
        return features, [maps[name] for name in self._layers]

    def maps(self, x: Float[Tensor, "batch 3 height width"]) -> Tensor:
        return self.bare.maps(x)

    def stages(self) -> list[Stage]:
        return self.bare.stages()

    def _measured(self) -> list[float]:
        """The scales that suit the blocks of drawn pictures."""
        count = min(DRAWN, max(FEWEST, DRAWN * USUAL**2 // self.bare.spec.size**2))
        with torch.no_grad(), as_eval(self.net), one_thread():
            pieces = [self.blocks(piece) for piece in self._drawn(count).split(AT_ONCE)]
        return _scales([torch.cat(block) for block in zip(*pieces, strict=True)])

    def _drawn(self, count: int) -> Float[Tensor, "count 3 size size"]:
        return _drawn(self.bare.spec.size, count).to(next(self.parameters()))


def pooled_both(maps: Sequence[Float[Tensor, "batch _ _ _"]]) -> list[Float[Tensor, "batch _"]]:
    """Of each of the maps the mean of every channel, and its maximum."""
    return [pooled for each in maps for pooled in (each.mean((2, 3)), each.amax((2, 3)))]


def _scales(blocks: Sequence[Float[Tensor, "batch _"]]) -> list[float]:
    """Of each block behind the first, the power of two that makes it spread half as far as the first does, all its numbers together."""
    spreads = [float(block.double().std(0, correction=0).mean()) for block in blocks]
    wanted = [
        BESIDE * np.sqrt(blocks[0].shape[1] / block.shape[1]) * spreads[0] / max(spread, 1e-12)
        for block, spread in zip(blocks[1:], spreads[1:], strict=True)
    ]
    return [float(2.0 ** np.round(np.log2(np.clip(each, 1e-6, 1e6)))) for each in wanted]


def _drawn(size: int, count: int) -> Float[Tensor, "count 3 size size"]:
    """Pictures of clouds: amplitudes fall with the frequency, as those of photographs do (Field 1987)."""
    draw = numpy_generator(0, "several", "drawn pictures")
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    frequency[0, 0] = 1.0 / size
    clouds = np.fft.ifft2(np.fft.fft2(draw.standard_normal((count, 4, size, size))) / frequency).real
    pictures = clouds[:, :1] + COLOUR * clouds[:, 1:]
    pictures -= pictures.mean((1, 2, 3), keepdims=True)
    return torch.from_numpy(CONTRAST * pictures / pictures.std((1, 2, 3), keepdims=True)).float()
