"""What the layers of a backbone give as maps, in the forward that gives its features, and how features follow from the last maps."""

from collections.abc import Collection

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from headstart.backbones._maps import grid
from headstart.backbones._wrapped import Wrapped, pooled
from headstart.errors import BadSetting
from headstart.hooks import captured


def watched(backbone: Wrapped) -> list[tuple[str, nn.Module]]:
    """(name, the module whose output is that of the stage), in depth order."""
    return [(name, list(stage)[-1] if isinstance(stage, nn.ModuleList) else stage) for name, stage in backbone.whole.stages()]


def seen(
    backbone: Wrapped, x: Shaped[Tensor, "batch ..."], only: Collection[str] | None = None
) -> tuple[Float[Tensor, "batch features"], dict[str, Float[Tensor, "batch channels rows columns"]]]:
    """Features, and by name the maps of every stage that gives some, from one forward; tokens are laid out as they lay in the image.

    Args:
        only: the stages that are looked at; a layer that is watched is not folded into the one before it.
    """
    stages = [stage for stage in watched(backbone) if only is None or stage[0] in only]
    with captured([module for _, module in stages]) as outputs:
        features = backbone.whole.features(x)
    maps = {}
    for (name, _), output in zip(stages, outputs, strict=True):
        if isinstance(output, Tensor) and output.ndim in (3, 4) and len(output) == len(x):
            try:
                maps[name] = grid(output)
            except BadSetting:  # no square of tokens
                continue
    return features, maps


def features_of(backbone: Wrapped, maps: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
    """The features that follow from `backbone.maps(x)`: what is left of the forward behind the last maps."""
    rest = getattr(backbone.net, "forward_head", None)
    return pooled(maps if rest is None or not backbone.has_maps else rest(maps))


def follow(backbone: Wrapped, x: Shaped[Tensor, "batch ..."]) -> bool:
    """Whether the features of x follow from its maps that way, which a network of the user's own may do otherwise."""
    with torch.no_grad():
        features, again = backbone.features(x), features_of(backbone, backbone.maps(x))
    return features.shape == again.shape and torch.allclose(features, again, rtol=1e-3, atol=1e-4)
