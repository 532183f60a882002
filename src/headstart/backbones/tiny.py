"""A backbone of ten thousand random, seeded parameters for 32-pixel images: for tests and for a first try, in milliseconds."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from headstart.backbones._wrapped import Wrapped, fitting, seeded
from headstart.core import BackboneSpec

WIDTHS = (16, 24, 32)


def build(seed: int = 0, tensors: Mapping[str, Tensor] | None = None) -> Wrapped:
    """Three strided convolutions with BatchNorm, then the mean over space; equal seeds give equal weights."""
    with seeded(seed, "tiny"):
        net = TinyNet()
    if tensors is not None:
        net.load_state_dict(fitting(tensors, net, "tiny"))
    half = (0.5, 0.5, 0.5)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    source = "random" if tensors is None else "given tensors"
    spec = BackboneSpec("tiny", 32, half, half, "bilinear", 1.0, WIDTHS[-1], "Apache-2.0", parameters, source)
    order = [[f"blocks.{place}"] for place in range(len(WIDTHS))]
    return Wrapped(net.eval(), spec, "tiny", maps=net.forward_features, order=order)


class TinyNet(nn.Module):
    """32 features of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_block(before, after) for before, after in zip((3, *WIDTHS), WIDTHS, strict=False)))

    def forward_features(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 32 rows columns"]:
        return self.blocks(x)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 32"]:
        return self.forward_features(x).mean((2, 3))


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
