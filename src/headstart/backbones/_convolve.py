"""Convolutions that train fast on a CPU: norms with fixed statistics folded in, depthwise gradients by kernels that are fast.

What is computed is what `norm(conv(x))` computes; only the way differs. Measured in docs/log.md, "One epoch, faster".
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

FAST_KERNEL = 3
"""oneDNN's weight gradient of a larger depthwise kernel takes ten times as long as that of this size (oneDNN 3.x, AVX-512)."""


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: where the padding is odd, the extra row and column come last."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Float[Tensor, "batch before height width"]) -> Float[Tensor, "batch after rows columns"]:
        return self.convolve(input, self.weight, None)

    def convolve(
        self, x: Float[Tensor, "batch before height width"], weight: Tensor, bias: Tensor | None
    ) -> Float[Tensor, "batch after rows columns"]:
        """What the layer computes, with these numbers in place of its own."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        learns = torch.is_grad_enabled() and (weight.requires_grad or x.requires_grad)
        rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        if rows % 2 or columns % 2:
            around = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
            x = Padded.apply(x, around) if learns else functional.pad(x, around)
            rows = columns = 0
        padding = (rows // 2, columns // 2)
        if self.groups == x.shape[1] and x.device.type == "cpu" and learns:
            return Depthwise.apply(x, weight, bias, (stride, stride), padding)
        return functional.conv2d(x, weight, bias, stride, padding, 1, self.groups)


def normed(
    conv: SameConv, norm: nn.BatchNorm2d, x: Float[Tensor, "batch before height width"]
) -> Float[Tensor, "batch after rows columns"]:
    """`norm(conv(x))`: one convolution, with the norm's scale and shift in its numbers, where the norm is fixed.

    The gradient of the convolution's own weights is the same; the outputs of two layers need not be kept for it. A prediction
    takes a third less time (docs/log.md) and differs from that of the two layers by rounding. Where somebody watches one of the
    layers with a hook, they are called as they stand.
    """
    if norm.training or _watched(conv) or _watched(norm) or (torch.is_grad_enabled() and norm.weight.requires_grad):
        return norm(conv(x))
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return conv.convolve(x, conv.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale)


def activated(
    conv: SameConv, norm: nn.BatchNorm2d, x: Float[Tensor, "batch before height width"]
) -> Float[Tensor, "batch after rows columns"]:
    """ReLU6 of `normed`, written over it where neither a gradient nor a hook needs what was there."""
    y = normed(conv, norm, x)
    needed = _watched(norm) or (torch.is_grad_enabled() and y.requires_grad)
    return functional.hardtanh(y, 0.0, 6.0, inplace=not needed)


def _watched(layer: nn.Module) -> bool:
    """Whether somebody looks at what goes into or comes out of the layer."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


class Depthwise(torch.autograd.Function):
    """A depthwise convolution whose gradients go around two slow kernels of oneDNN (numbers in docs/log.md).

    The bfloat16 gradient of the input of a strided one is taken in float32; the weight gradient of a kernel larger than
    3 x 3 is put together from those of 3 x 3 windows. The bias, a folded norm's shift, takes no gradient.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        return functional.conv2d(x, weight, bias, stride, padding, 1, len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.stride, ctx.padding = inputs
        assert bias is None or not bias.requires_grad, "the shift of a folded norm is fixed"
        ctx.save_for_backward(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_x = _input_gradient(gradient, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        of_weight = _weight_gradient(gradient, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None, None, None


class Padded(torch.autograd.Function):
    """Rows and columns of zeros around the input, as many as `functional.pad` would add; left, right, top, bottom."""

    @staticmethod
    def forward(x: Tensor, around: tuple[int, int, int, int]) -> Tensor:
        return _padded(x, around)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.around = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        left, right, top, bottom = ctx.around
        rows, columns = gradients[0].shape[-2:]
        return gradients[0][..., top : rows - bottom, left : columns - right], None


def _padded(x: Tensor, around: tuple[int, int, int, int]) -> Tensor:
    """Beware: `functional.pad` first fills the whole with zeros, the place of x too, which costs as much as copying x."""
    left, right, top, bottom = around
    batch, channels, rows, columns = x.shape
    shape = (batch, channels, top + rows + bottom, left + columns + right)
    whole = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    whole[..., :top, :] = 0
    whole[..., top + rows :, :] = 0
    whole[..., :left] = 0
    whole[..., left + columns :] = 0
    whole[..., top : top + rows, left : left + columns] = x
    return whole


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    dtype = torch.float32 if max(stride) > 1 else gradient.dtype
    like_x = torch.empty_like(x, dtype=dtype, memory_format=torch.channels_last)  # only its shape is used
    return _backward(gradient.to(dtype), like_x, weight.to(dtype), stride, padding, "x").to(x.dtype)


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    x, kernel = x.to(gradient.dtype), weight.shape[-1]
    if kernel <= FAST_KERNEL:
        return _backward(gradient, x, weight.to(gradient.dtype), stride, padding, "weight").to(weight.dtype)
    (rows, columns), size, whole = gradient.shape[-2:], FAST_KERNEL, torch.empty_like(weight)
    x = _padded(x, (padding[1], padding[1], padding[0], padding[0]))
    window = torch.empty_like(weight[..., :size, :size], dtype=gradient.dtype, memory_format=torch.contiguous_format)
    # windows overlap by one row or column, which both give alike: 0-2 and 2-4 of five
    starts = range(0, kernel - 2, 2)
    for down, right in ((down, right) for down in starts for right in starts):
        part = x[..., down : down + (rows - 1) * stride[0] + size, right : right + (columns - 1) * stride[1] + size]
        part = part.contiguous(memory_format=torch.channels_last)
        whole[..., down : down + size, right : right + size] = _backward(gradient, part, window, stride, (0, 0), "weight")
    return whole


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], of: Literal["x", "weight"]
) -> Tensor:
    mask = (of == "x", of == "weight", False)
    found = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), mask
    )
    return found[mask.index(True)]
