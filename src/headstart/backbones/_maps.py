"""A backbone for tasks that say something of every place of an image: it gives the maps of several depths in place of one mean.

The maps of an image, finest first, lie one after another in its row of features, so that they are cached, divided and fed to a
head as the features of any backbone are.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headstart.backbones._wrapped import Stage, Wrapped, as_eval, one_thread
from headstart.core import Dataset, Defaults, Modality
from headstart.errors import BadSetting
from headstart.hooks import captured
from headstart.modalities import scene

FINEST = 4
"""Pixels from one place of the finest map that is used to the next: finer ones cost much and know little."""
LARGER = 2.0
"""How much larger than for one answer an image is taken where every place of it matters, if nobody says."""
STEP = 32


class Maps(Wrapped):
    """The maps of the stages of another backbone, the last of each size; its weights are that backbone's own."""

    defaults = Defaults(batch_size=8, augment="light", lr_mult=10.0)
    """One image says as much as many, the part of the head that is not solved has much to learn, and places are told apart by what early
    layers see (docs/log.md)."""

    def __init__(self, inner: Wrapped, size: int | None = None) -> None:
        taken = inner.spec.size if inner.spec.fixed_size else size or STEP * math.ceil(LARGER * inner.spec.size / STEP)
        super().__init__(inner.net, inner.spec, inner.kind, inner.architecture, None, None, None, inner.notes)
        self._inner = (inner,)  # in a tuple, or its weights would be counted twice
        with torch.no_grad(), as_eval(inner.net), one_thread():
            example = next(inner.parameters(), torch.zeros(())).new_zeros(1, 3, taken, taken)
            self._watched, maps = _last_of_each_size(inner, example)
        levels = tuple((each.shape[1], each.shape[2]) for each in maps)
        width = sum(channels * side**2 for channels, side in levels)
        self.spec = replace(inner.spec, size=taken, modality="scene", levels=levels, width=width)

    @property
    def whole(self) -> Wrapped:
        """The backbone that it was made of, which gives one row of features for the whole image."""
        return self._inner[0]

    @property
    def bare(self) -> Wrapped:
        return self._inner[0]

    def require(self, data: Dataset) -> None:
        """Raises `BadSetting` for examples without masks."""
        if data.modality != self.spec.modality:
            raise BadSetting(
                f"this model tells the class of every place of an image, and {data.name} has no masks to learn or judge that by. "
                "Open images with their masks: mask_folder(path), on the command line a folder with images/ and masks/."
            )

    def takes(self, size: int | None = None) -> Modality:
        return scene.of(self.spec, size)

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features"]:
        return torch.cat([each.flatten(1) for each in self._seen(x)], 1)

    def stages(self) -> list[Stage]:
        return self.whole.stages()

    def _seen(self, x: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        if not self._watched:
            return [grid(self.whole.maps(x))]
        with captured(self._watched) as maps:
            self.net(x)
        return [_channels_first(each) for each in maps]


def _last_of_each_size(inner: Wrapped, example: Float[Tensor, "one 3 height width"]) -> tuple[list[nn.Module], list[Tensor]]:
    """The stages whose output is the last of its size, finest first, and what they give; where depth does not change the size no stage
    and the last map."""
    stages = [stage for name, stage in inner.stages() if stage is inner.net.get_submodule(name)]
    with captured(stages) as given:
        inner.net(example)
    last: dict[int, tuple[nn.Module, Tensor]] = {}
    for stage, output in zip(stages, given, strict=True):
        if isinstance(output, Tensor) and output.ndim == 4:
            maps = _channels_first(output)
            if maps.shape[2] == maps.shape[3] <= example.shape[2] // FINEST:
                last[maps.shape[2]] = (stage, maps)
    found = [last[side] for side in sorted(last, reverse=True)]
    return [stage for stage, _ in found], [maps for _, maps in found] or [grid(inner.maps(example))]


def _channels_first(maps: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch channels rows columns"]:
    """Maps of a square image with their channels in front, where some networks have them behind."""
    return maps.movedim(3, 1) if maps.shape[1] == maps.shape[2] != maps.shape[3] else maps


def grid(maps: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch channels rows columns"]:
    """Maps as they are, or tokens [batch, tokens, channels] laid out as the square that they come from, others left out."""
    if maps.ndim == 4:
        return _channels_first(maps)
    side = math.isqrt(maps.shape[1]) if maps.ndim == 3 else 0
    if side < 2:
        raise BadSetting(
            "the backbone gives no maps of an image, so nothing can be said of its places. Take another: backbone='small'."
        )
    return maps[:, -(side**2) :].transpose(1, 2).unflatten(2, (side, side))
