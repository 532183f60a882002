"""A network cut in two: what it has made of an input by then, as maps or tokens, and the features that follow from these."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headstart.backbones._all_layers import AllLayers, pooled_both
from headstart.backbones._layers import features_of
from headstart.backbones._maps import grid
from headstart.backbones._wrapped import Wrapped
from headstart.errors import BadSetting
from headstart.hooks import entering, replaced

FAR, FINE = 3, 28
"""Stages that are gone back from the end at most: the maps of earlier ones have seen little of the image around each place. And the most
rows and columns of a map of several layers."""


class _OfOneMap:
    """A cut at the maps of one layer."""

    def laid_out(self, shares: Float[Tensor, "one ..."]) -> Float[Tensor, "rows columns"]:
        """What of these shares of the maps lies at each place; those of a token that lies nowhere are left out."""
        return grid(shares)[0].sum(0)


@dataclass(frozen=True)
class AtTheEnd(_OfOneMap):
    """Cut behind the last maps."""

    backbone: Wrapped
    maps: Tensor

    def features(self, maps: Float[Tensor, "one ..."]) -> Float[Tensor, "one features"]:
        """By the last layers alone."""
        return features_of(self.backbone, maps)


@dataclass(frozen=True)
class Before(_OfOneMap):
    """Cut before one of its modules. What follows takes a forward of the whole, as it cannot be begun in the middle."""

    backbone: Wrapped
    module: nn.Module
    input: Tensor
    maps: Tensor

    def features(self, maps: Float[Tensor, "one ..."]) -> Float[Tensor, "one features"]:
        """By a forward of the input in which the module is given these maps."""
        with replaced(self.module, maps, torch.is_grad_enabled()):
            return self.backbone.whole.features(self.input)


@dataclass(frozen=True)
class Throughout:
    """Cut behind the last maps and behind those of all layers that the head sees too. The maps of all lie in one row, one after another."""

    backbone: AllLayers
    shapes: tuple[torch.Size, ...]
    maps: Float[Tensor, "one numbers"]

    def features(self, maps: Float[Tensor, "one numbers"]) -> Float[Tensor, "one features"]:
        """By the last layers, and by the means and maxima of the others."""
        last, *others = self._apart(maps)
        return self.backbone.together([features_of(self.backbone.bare, last), *pooled_both(others)])

    def laid_out(self, shares: Float[Tensor, "one numbers"]) -> Float[Tensor, "rows columns"]:
        """What of these shares lies at each place of the finest maps that are not finer than `FINE`; their sum is kept."""
        maps = [grid(each)[0].sum(0) for each in self._apart(shares)]
        side = max(min(each.shape[0], FINE) for each in maps)
        return torch.stack([spread(each, side) for each in maps]).sum(0)

    def _apart(self, row: Float[Tensor, "one numbers"]) -> list[Tensor]:
        return [
            part.reshape(shape)
            for part, shape in zip(row.split([shape.numel() for shape in self.shapes], 1), self.shapes, strict=True)
        ]


def spread(places: Float[Tensor, "rows columns"], side: int) -> Float[Tensor, "side side"]:
    """The same amounts on a grid of another size, each divided among the places that it covers."""
    rows, columns = (_shares(count, side).to(places) for count in places.shape)
    return rows.T @ places @ columns


def _shares(count: int, side: int) -> Float[Tensor, "count side"]:
    """Of each of `count` equal parts of a line, the share that lies in each of `side` equal parts of it."""
    edges = torch.arange(count + 1, dtype=torch.float64) / count
    others = torch.arange(side + 1, dtype=torch.float64) / side
    common = torch.minimum(edges[1:, None], others[1:]) - torch.maximum(edges[:-1, None], others[:-1])
    return count * common.clamp(min=0.0)


Cut = AtTheEnd | Before | Throughout
"""Of one input: `maps`, what the network has made of it; `features(maps)`, what follows where these stand in their place; `laid_out`, where
shares of them lie."""


def at_the_end(backbone: Wrapped, x: Float[Tensor, "one 3 height width"]) -> AtTheEnd | Throughout:
    """The cut behind the last maps of this input, and behind all others that the head sees."""
    with torch.no_grad():
        if not isinstance(backbone, AllLayers):
            return AtTheEnd(backbone, backbone.maps(x))
        every = [backbone.maps(x), *backbone.seen(x)[1]]
        return Throughout(backbone, tuple(each.shape for each in every), torch.cat([each.flatten(1) for each in every], 1))


def before(backbone: Wrapped, module: nn.Module, x: Float[Tensor, "one 3 height width"]) -> Before:
    """The cut before this module.

    Raises:
        BadSetting: where it is not given maps, or tokens that lie in a square.
    """
    with torch.no_grad(), entering(module) as given:
        backbone.whole.features(x)
    maps = given[0] if given else None
    if not isinstance(maps, Tensor) or len(maps) != len(x) or min(grid(maps).shape[2:]) < 2:
        raise BadSetting("this layer of the backbone is given no maps.")
    return Before(backbone, module, x, maps)


def from_the_end(backbone: Wrapped) -> Iterator[nn.Module]:
    """The first module of each of the last stages, the deepest first."""
    for _, stage in backbone.whole.stages()[: -FAR - 1 : -1]:
        yield next(iter(stage)) if isinstance(stage, nn.ModuleList) else stage
