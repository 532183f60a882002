"""Backbones of an architecture, and as examples need them: of their size, with maps or with features."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from headstart.backbones import bundled, choices, tiny
from headstart.backbones._all_layers import AllLayers, NoLayers
from headstart.backbones._maps import Maps
from headstart.backbones._wrapped import Wrapped
from headstart.errors import BadSetting


def named(name: str, pretrained: bool, size: int | None, seed: int, tensors: dict[str, Tensor] | None = None) -> Wrapped:
    """The backbone of that architecture, with these tensors where they are given."""
    if name == "tiny":
        return at_size(tiny.build(seed, tensors), size)
    plain = name.removesuffix(choices.TAG)
    if plain in choices.BUNDLED and (tensors is not None or not pretrained or bundled.weights_file(plain) is not None):
        return at_size(bundled.build(plain, pretrained, seed, tensors), size)
    from headstart.backbones import from_timm

    return from_timm.build(name, pretrained, size, seed, tensors)


def at_size(backbone: Wrapped, size: int | None) -> Wrapped:
    """The backbone for images of `size` pixels, where it can take others than it was built for."""
    spec = backbone.spec
    if size is None or size == spec.size:
        return backbone
    if spec.fixed_size or spec.levels:
        raise BadSetting(f"the backbone {spec.name} was built for images of {spec.size} pixels, got size={size}. Leave size out.")
    for each in (backbone.bare, backbone):
        each.spec = replace(each.spec, size=size)
    return backbone


def dressed(
    backbone: Wrapped,
    modality: str,
    size: int | None = None,
    features: str = "last",
    scales: Sequence[float] | None = None,
) -> Wrapped:
    """The backbone as examples of the modality need it: with maps in place of features, or with features of the layers asked for.

    Args:
        scales: of the layers, where they have been measured.
    """
    if features == "auto":
        return _widest(backbone, modality, size)
    if features == "layers" and modality not in choices.LAYERED:
        raise BadSetting(
            f'features="layers" is for images that get one answer each, and these examples are of the kind "{modality}". Leave features out.'
        )
    if modality in choices.MAPS:
        return backbone if backbone.spec.levels else Maps(backbone.bare, size)
    return AllLayers(backbone.bare, scales) if features == "layers" else backbone.bare


def _widest(backbone: Wrapped, modality: str, size: int | None) -> Wrapped:
    """The backbone with features of all layers where it and the modality have some; `train.seeing` makes it smaller where less is better."""
    if modality not in choices.LAYERED:
        return dressed(backbone, modality, size)
    try:
        return AllLayers(backbone.bare)
    except NoLayers:
        return backbone.bare
