"""A backbone of ten thousand random, seeded parameters for 32-pixel images: for tests and for trying things out in milliseconds."""

from torch import Tensor, nn

from headstart.backbones._wrapped import Wrapped, seeded
from headstart.core import BackboneSpec

WIDTHS = (16, 24, 32)


def build(seed: int = 0, tensors: dict[str, Tensor] | None = None) -> Wrapped:
    """Three strided convolutions with BatchNorm, then the mean over space; equal seeds give equal weights."""
    with seeded(seed, "tiny"):
        blocks = [_block(before, after) for before, after in zip((3, *WIDTHS), WIDTHS, strict=False)]
        net = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    if tensors is not None:
        net.load_state_dict(tensors)
    half = (0.5, 0.5, 0.5)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    spec = BackboneSpec("tiny", 32, half, half, "bilinear", 1.0, WIDTHS[-1], "Apache-2.0", parameters, "random")
    return Wrapped(net.eval(), spec, "tiny", maps=net[: len(WIDTHS)], order=[["0"], ["1"], ["2"]])


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
