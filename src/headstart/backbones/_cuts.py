"""A network cut in two: what it has made of an input by then, as maps or tokens, and the features that follow from these."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headstart.backbones._layers import features_of
from headstart.backbones._maps import grid
from headstart.backbones._wrapped import Wrapped
from headstart.errors import BadSetting
from headstart.hooks import entering, replaced

FAR = 3
"""Stages that are gone back from the end at most: the maps of earlier ones have seen little of the image around each place."""


@dataclass(frozen=True)
class AtTheEnd:
    """Cut behind the last maps."""

    backbone: Wrapped
    maps: Tensor

    def features(self, maps: Float[Tensor, "one ..."]) -> Float[Tensor, "one features"]:
        """By the last layers alone."""
        return features_of(self.backbone, maps)


@dataclass(frozen=True)
class Before:
    """Cut before one of its modules. What follows takes a forward of the whole, as it cannot be begun in the middle."""

    backbone: Wrapped
    module: nn.Module
    input: Tensor
    maps: Tensor

    def features(self, maps: Float[Tensor, "one ..."]) -> Float[Tensor, "one features"]:
        """By a forward of the input in which the module is given these maps."""
        with replaced(self.module, maps, torch.is_grad_enabled()):
            return self.backbone.whole.features(self.input)


Cut = AtTheEnd | Before
"""Of one input: `maps`, what the network has made of it; `features(maps)`, what follows where these stand in their place."""


def at_the_end(backbone: Wrapped, x: Float[Tensor, "one 3 height width"]) -> AtTheEnd:
    """The cut behind the last maps of this input."""
    with torch.no_grad():
        return AtTheEnd(backbone, backbone.maps(x))


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
