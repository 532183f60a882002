"""Training images mixed with their neighbours in the batch: blended (mixup), or a rectangle of the one pasted into the other (CutMix)."""

from dataclasses import replace

from headstart.core import Batch, Phase
from headstart.seeds import numpy_generator


def mixed(batch: Batch, phase: Phase, seed: int, epoch: int, number: int) -> Batch:
    """Batch `number` of an epoch as the phase wants it; where both ways are on, each batch draws one of them by its place."""
    ways = [way for way, strength in ((blended, phase.mixup), (pasted, phase.cutmix)) if strength]
    if not ways:
        return batch
    which = int(numpy_generator(seed, "which mix", epoch, number).integers(len(ways))) if len(ways) > 1 else 0
    return ways[which](batch, phase, seed, epoch, number)


def blended(batch: Batch, phase: Phase, seed: int, epoch: int, number: int) -> Batch:
    """Each image mixed with its neighbour in the batch, all with one share (Zhang et al. 2018, "mixup", section 2)."""
    import torch

    share = float(numpy_generator(seed, "mixup", epoch, number).beta(phase.mixup, phase.mixup))
    return _with_neighbours(batch, torch.lerp(batch.inputs.roll(1, 0), batch.inputs, share), share)


def pasted(batch: Batch, phase: Phase, seed: int, epoch: int, number: int) -> Batch:
    """Each image with a rectangle of its neighbour pasted in, at one place for all (Yun et al. 2019, "CutMix", algorithm 1).

    The rectangle has the image's proportions and the area 1 - Beta(cutmix, cutmix); its middle is drawn uniformly, and what
    reaches beyond the border is cut off. The share that counts in the loss is that of the pixels that were really kept.
    """
    height, width = batch.inputs.shape[2:]
    top, bottom, left, right = rectangle(height, width, phase.cutmix, seed, epoch, number)
    inputs = batch.inputs.clone()
    inputs[:, :, top:bottom, left:right] = batch.inputs.roll(1, 0)[:, :, top:bottom, left:right]
    return _with_neighbours(batch, inputs, 1.0 - (bottom - top) * (right - left) / (height * width))


def rectangle(height: int, width: int, cutmix: float, seed: int, epoch: int, number: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of what is pasted into batch `number`."""
    generator = numpy_generator(seed, "cutmix", epoch, number)
    side = (1.0 - float(generator.beta(cutmix, cutmix))) ** 0.5
    edges: list[int] = []
    for length in (height, width):
        half, middle = int(length * side) // 2, int(generator.integers(length))
        edges += [max(0, middle - half), min(length, middle + half)]
    return edges[0], edges[1], edges[2], edges[3]


def _with_neighbours(batch: Batch, inputs: object, share: float) -> Batch:
    weights = None if batch.weights is None else batch.weights.roll(1, 0)
    return replace(batch, inputs=inputs, partners=batch.targets.roll(1, 0), share=share, partner_weights=weights)
