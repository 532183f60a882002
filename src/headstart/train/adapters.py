"""Low-rank adapters (Hu et al. 2021, "LoRA"): a weight learns only along a few directions, and is a plain weight all the while.

The formula, for the weight of a linear layer or of a convolution of one group as a matrix [outputs, inputs]:

    weight = base + ALPHA / rank * up @ down        down [rank, inputs] random, up [outputs, rank] zero at the start

The model's own tensor always holds the left side. So its rows, bundle and export need no merging and know nothing of adapters,
and its forward is as fast as ever. What a step adds: after the backward pass the gradient of the weight becomes those of its
two factors by the chain rule (`gradients`), after the optimizer's step the weight is written again (`merge`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.model import Model
from headstart.seeds import derive

ALPHA = 16.0
"""With the share ALPHA / rank in front of the product, a good learning rate depends little on the rank."""


@dataclass(frozen=True)
class Adapter:
    """The factors of what one weight of the model has learned; `name` is the weight's, `base` its matrix before."""

    name: str
    weight: Tensor
    base: Tensor
    down: nn.Parameter
    up: nn.Parameter

    @property
    def scale(self) -> float:
        return ALPHA / len(self.down)

    def factors(self) -> dict[str, nn.Parameter]:
        """What the optimizer steps on, by name."""
        return {f"{self.name}/down": self.down, f"{self.name}/up": self.up}


def attach(model: Model, rank: int, seed: int) -> tuple[Adapter, ...]:
    """An adapter for each trainable weight of a linear layer or a convolution of one group of the backbone; none for rank 0.

    The rest of the backbone is frozen then. A weight too small for the rank gets as many
    directions as it has. Those of `down` are a function of (seed, name).
    """
    if rank == 0:
        return ()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    chosen = {names[id(weight)]: weight for weight in _adaptable(model.backbone) if weight.requires_grad}
    for name, parameter in model.backbone.named_parameters(prefix="backbone"):
        parameter.requires_grad_(name in chosen)
    return tuple(_adapter(name, weight, rank, seed) for name, weight in chosen.items())


def size(module: nn.Module, rank: int) -> int:
    """How many numbers the adapters of a module's weights have."""
    shapes = [weight.flatten(1).shape for weight in _adaptable(module)]
    return sum(min(rank, *shape) * sum(shape) for shape in shapes)


def gradients(adapters: Sequence[Adapter]) -> None:
    """Gives the factors their gradients from those of their weights, which are let go."""
    for each in adapters:
        assert each.weight.grad is not None, f"{each.name} took part in the step"
        gradient = each.weight.grad.flatten(1)
        each.up.grad = each.scale * (gradient @ each.down.detach().T)
        each.down.grad = each.scale * (each.up.detach().T @ gradient)
        each.weight.grad = None


@torch.no_grad()
def merge(adapters: Sequence[Adapter]) -> None:
    """Writes the weights as their factors are now."""
    for each in adapters:
        each.weight.copy_(torch.addmm(each.base, each.up, each.down, alpha=each.scale).view(each.weight.shape))


def tensors(adapters: Sequence[Adapter]) -> dict[str, Tensor]:
    """Copies on the CPU of all that the adapters hold beside the weights themselves."""
    held = {name: factor for each in adapters for name, factor in {**each.factors(), f"{each.name}/base": each.base}.items()}
    return {name: tensor.detach().cpu().clone() for name, tensor in held.items()}


@torch.no_grad()
def put(adapters: Sequence[Adapter], kept: Mapping[str, Tensor]) -> None:
    """Gives the adapters what `tensors` copied; the model's weights are not written."""
    for each in adapters:
        for name, tensor in {**each.factors(), f"{each.name}/base": each.base}.items():
            tensor.copy_(kept[name])


def in_words(model: Model, adapters: Sequence[Adapter]) -> str:
    """How much of the backbone learns."""
    learning = sum(factor.numel() for each in adapters for factor in each.factors().values())
    whole = sum(parameter.numel() for parameter in model.backbone.parameters())
    return (
        f"The backbone is frozen but for adapters of {len(adapters)} of its layers: {learning:,} numbers learn in place of "
        f"{whole:,}, and the head. What is saved are plain weights."
    )


def _adaptable(module: nn.Module) -> list[Tensor]:
    """The weights of linear layers and of convolutions of one group."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [layer.weight for layer in layers if isinstance(layer, nn.Linear) or layer.groups == 1]


def _adapter(name: str, weight: Tensor, rank: int, seed: int) -> Adapter:
    outputs, inputs = weight.flatten(1).shape
    rank = min(rank, outputs, inputs)
    draw, bound = torch.Generator().manual_seed(derive(seed, "adapter", name)), 1 / math.sqrt(inputs)
    down = nn.init.uniform_(torch.empty(rank, inputs), -bound, bound, generator=draw)
    up = torch.zeros(outputs, rank)
    like = {"device": weight.device, "dtype": weight.dtype}
    return Adapter(name, weight, weight.detach().flatten(1).clone(), nn.Parameter(down.to(**like)), nn.Parameter(up.to(**like)))
