"""What is said of every place of an image, from maps of several depths: a linear part, which can be solved, and a part that refines it.

The linear part sees all maps, each enlarged to the finest ("hypercolumns", Hariharan et al. 2015). What refines it goes from the
coarsest map to the finest (Lin et al. 2017, "Feature Pyramid Networks") and starts at zero, so that training begins where the
solved linear part is.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from headstart.errors import BadSetting, DataError
from headstart.heads._head import Head
from headstart.places import evenly
from headstart.seeds import derive, numpy_generator

CHANNELS = 64
GROUPS = 8
PIXELS = 16_384
"""Places of all images together that the linear part is solved on."""
Levels = Sequence[tuple[int, int]]


class Decoder(Head, nn.Module):
    """`outputs` numbers for every place of the finest map."""

    solved_rate = 5.0
    """The rest is new."""
    solved_once = True
    """What refines the linear part is no part of the problem that is solved."""

    def __init__(self, levels: Levels, outputs: int) -> None:
        super().__init__()
        self.levels = tuple((channels, side) for channels, side in levels)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, CHANNELS, 1) for channels, _ in self.levels)
        self.smooth = nn.ModuleList(_smoothing() for _ in self.levels)
        self.last = nn.Conv2d(CHANNELS, outputs, 1)
        self.linear = nn.Linear(sum(channels for channels, _ in self.levels), outputs)
        self.solved()

    @property
    def solvable(self) -> nn.Linear:
        """The linear part."""
        return self.linear

    def solved(self) -> None:
        """What refines the linear part starts at zero."""
        with torch.no_grad():
            for parameter in self.last.parameters():
                parameter.zero_()

    def forward(self, rows: Float[Tensor, "batch features"]) -> Float[Tensor, "batch outputs side side"]:
        maps = self._maps(rows)
        finest = maps[0].shape[-2:]
        said = self._linear(maps)
        x = None
        for each, lateral, smooth in zip(maps[::-1], list(self.lateral)[::-1], list(self.smooth)[::-1], strict=True):
            y = lateral(each)
            x = smooth(y if x is None else y + _enlarged(x, each.shape[-2:]))
        assert x is not None, "there is a map at least"
        return said + _enlarged(self.last(x), finest)

    def as_rows(
        self, rows: Float[np.ndarray, "batch features"], targets: "np.ndarray"
    ) -> tuple[Float[np.ndarray, "places channels"], np.ndarray]:
        """What the linear part is given at some of the places that are known, drawn at random in each image, and what these are.

        Raises:
            DataError: where no place is known.
        """
        told = [place for place in range(len(rows)) if (targets[place] < self.linear.out_features).any()]
        if not told:
            raise DataError(
                "the masks tell of no place what it is, so nothing can be learned. Look at them, and at the numbers that are void."
            )
        chosen = [told[place] for place in evenly(len(told), PIXELS)]
        each, (height, width) = max(1, PIXELS // len(chosen)), targets.shape[1:]
        found, known = [], []
        for place in chosen:
            lines, columns = np.nonzero(targets[place] < self.linear.out_features)
            drawn = numpy_generator(0, "places", place).choice(len(lines), min(each, len(lines)), replace=False)
            lines, columns = lines[drawn], columns[drawn]
            points = np.stack([(2 * columns + 1) / width - 1, (2 * lines + 1) / height - 1], 1)
            grid = torch.from_numpy(points.astype(np.float32))[None, None]
            maps = self._maps(torch.from_numpy(rows[place : place + 1]))
            seen = [functional.grid_sample(one, grid, "bilinear", "border", align_corners=False) for one in maps]
            found.append(torch.cat(seen, 1)[0, :, 0].T.numpy())
            known.append(targets[place, lines, columns])
        return np.concatenate(found), np.concatenate(known).astype(np.int64)

    def _maps(self, rows: Float[Tensor, "batch features"]) -> list[Tensor]:
        parts = rows.split([channels * side**2 for channels, side in self.levels], 1)
        return [part.unflatten(1, (channels, side, side)) for part, (channels, side) in zip(parts, self.levels, strict=True)]

    def _linear(self, maps: Sequence[Tensor]) -> Tensor:
        """The linear part on each map by itself, then enlarged: the same as on enlarged maps, and much less work."""
        weights = self.linear.weight.split([channels for channels, _ in self.levels], 1)
        said = [functional.conv2d(each, weight[:, :, None, None]) for each, weight in zip(maps, weights, strict=True)]
        total = said[0] + self.linear.bias[:, None, None]
        for each in said[1:]:
            total = total + _enlarged(each, total.shape[-2:])
        return total


def _enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    return x if x.shape[-2:] == torch.Size(size) else functional.interpolate(x, size=tuple(size), mode="bilinear")


def _smoothing() -> nn.Module:
    norm = nn.GroupNorm(GROUPS, CHANNELS)
    return nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False), norm, nn.ReLU(inplace=True))


def make(features: int, outputs: int, seed: int, levels: Levels = ()) -> nn.Module:
    """`outputs` functions of the maps at every place, with random, seeded weights.

    Raises:
        BadSetting: for a backbone that gives no maps.
    """
    if not levels:
        raise BadSetting("a decoder needs the maps of images with masks, and there are none here. Leave head_kind out.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "head", "decoder"))
        return Decoder(levels, outputs)
