"""Convolutions that train fast compute what plain ones compute: outputs and gradients, against autograd through torch's own layers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from headstart.backbones import _convolve
from headstart.backbones._convolve import Depthwise, Padded, SameConv, activated, normed

pytestmark = pytest.mark.usefixtures("own_randomness")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).contiguous(memory_format=torch.channels_last)


def layers(before: int, after: int, kernel: int, stride: int, groups: int) -> tuple[SameConv, nn.BatchNorm2d]:
    conv, norm = SameConv(before, after, kernel, stride, groups), nn.BatchNorm2d(after, eps=1e-3)
    with torch.no_grad():
        conv.weight.copy_(drawn(*conv.weight.shape, seed=1))
        for place, numbers in enumerate((norm.weight, norm.bias, norm.running_mean, norm.running_var)):
            assert numbers is not None
            numbers.copy_(drawn(1, after, 1, 1, seed=2 + place).flatten().abs() + 0.1)
    return conv, norm.eval()


def gradients(conv: SameConv, x: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Of a loss that weighs every output differently."""
    loss = (outputs.float() * drawn(*outputs.shape, seed=9)).sum()
    of_weight, of_x = torch.autograd.grad(loss, (conv.weight, x))
    return of_weight, of_x


@pytest.mark.parametrize(("side", "other"), [(8, 9), (12, 7)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)])
@pytest.mark.parametrize("depthwise", [True, False])
def test_a_fixed_norm_is_folded_without_a_change(kernel: int, stride: int, depthwise: bool, side: int, other: int) -> None:
    conv, norm = layers(6, 6, kernel, stride, 6 if depthwise else 1)
    x = drawn(3, 6, side, other).requires_grad_()
    plain = norm(nn.Conv2d.forward(_padded_by_hand(conv), _pad(conv, x)))
    norm.requires_grad_(False)
    folded = normed(conv, norm, x)
    torch.testing.assert_close(folded, plain, rtol=1e-5, atol=1e-5)
    assert "NativeBatchNorm" not in str(folded.grad_fn) and "NativeBatchNorm" in str(plain.grad_fn)
    for found, wanted in zip(gradients(conv, x, folded), gradients(conv, x, plain), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def _padded_by_hand(conv: SameConv) -> nn.Conv2d:
    """The same weights in a convolution that does not pad."""
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, groups=conv.groups, bias=False)
    plain.weight = conv.weight
    return plain


def _pad(conv: SameConv, x: Tensor) -> Tensor:
    """TensorFlow's rule, written as its documentation does: outputs = ceil(inputs / stride), the odd row last."""
    amounts: list[int] = []
    for side in (x.shape[3], x.shape[2]):
        outputs = (side + conv.stride[0] - 1) // conv.stride[0]
        whole = max(0, (outputs - 1) * conv.stride[0] + conv.kernel_size[0] - side)
        amounts += [whole // 2, whole - whole // 2]
    return functional.pad(x, amounts)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_gradients_are_those_of_float32_up_to_its_rounding(kernel: int, stride: int) -> None:
    conv, norm = layers(8, 8, kernel, stride, 8)
    norm.requires_grad_(False)
    x = drawn(4, 8, 14, 14).requires_grad_()
    exact = gradients(conv, x, normed(conv, norm, x))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = normed(conv, norm, x)
    assert outputs.dtype == torch.bfloat16
    for found, wanted in zip(gradients(conv, x, outputs), exact, strict=True):
        assert found.dtype == torch.float32
        assert float(functional.cosine_similarity(found.flatten(), wanted.flatten(), dim=0)) > 0.9999


def test_a_prediction_is_folded_too_and_written_over_nothing_that_is_needed() -> None:
    conv, norm = layers(4, 4, 3, 2, 4)
    x = drawn(2, 4, 7, 8)
    plain, before = norm(conv(x)), x.clone()
    with torch.no_grad():
        folded = normed(conv, norm, x)
        torch.testing.assert_close(folded, plain, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(activated(conv, norm, x), functional.relu6(plain), rtol=1e-5, atol=1e-5)
    assert torch.equal(x, before)
    norm.requires_grad_(False)
    x.requires_grad_()
    exact = gradients(conv, x, functional.relu6(norm(conv(x))))
    for found, wanted in zip(gradients(conv, x, activated(conv, norm, x)), exact, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("at", ["conv", "norm"])
def test_who_watches_a_layer_sees_what_it_made_and_keeps_it(at: str) -> None:
    """Folding would never call the layers, and ReLU6 in place would write over what was seen."""
    conv, norm = layers(4, 4, 3, 1, 4)
    x, seen = drawn(2, 4, 6, 6), []
    between = conv(x)
    expected = norm(between)
    {"conv": conv, "norm": norm}[at].register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    with torch.no_grad():
        assert torch.equal(activated(conv, norm, x), functional.relu6(expected))
    assert torch.equal(seen[0], {"conv": between, "norm": expected}[at])


def test_who_watches_the_gradient_of_a_layer_is_told_of_it() -> None:
    conv, norm = layers(4, 4, 3, 1, 4)
    norm.requires_grad_(False)
    told = []
    norm.register_full_backward_hook(lambda *_: told.append(1))
    activated(conv, norm, drawn(2, 4, 6, 6).requires_grad_()).sum().backward()
    assert told == [1]


@pytest.mark.parametrize("around", [(0, 1, 0, 1), (2, 2, 2, 2), (1, 0, 0, 3), (0, 0, 0, 0)])
def test_padding_is_torch_s_with_its_gradient(around: tuple[int, int, int, int]) -> None:
    x = drawn(2, 3, 5, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    ours, theirs = Padded.apply(x, around), functional.pad(x, around)
    assert torch.equal(ours, theirs)
    weights = drawn(*theirs.shape, seed=4)
    found, wanted = (torch.autograd.grad((padded * weights).sum(), x)[0] for padded in (ours, theirs))
    assert torch.equal(found, wanted)


def test_a_norm_that_learns_goes_through_the_plain_layers() -> None:
    conv, norm = layers(4, 4, 3, 1, 4)
    x = drawn(2, 4, 6, 6)
    learning = normed(conv, norm, x)
    assert "NativeBatchNorm" in str(learning.grad_fn)
    learning.sum().backward()
    assert norm.weight.grad is not None
    norm.train()
    normed(conv, norm, x)
    assert int(norm.num_batches_tracked or 0) == 1


@pytest.mark.parametrize(("below", "computed"), [(False, ["weight"]), (True, ["x", "weight"])])
def test_the_gradient_of_the_input_is_computed_only_where_layers_below_learn(
    monkeypatch: pytest.MonkeyPatch, below: bool, computed: list[str]
) -> None:
    seen: list[str] = []
    original = _convolve._backward

    def spy(*given: Any) -> Tensor:
        seen.append(given[-1])
        return original(*given)

    monkeypatch.setattr(_convolve, "_backward", spy)
    conv, norm = layers(4, 4, 3, 1, 4)
    norm.requires_grad_(False)
    normed(conv, norm, drawn(2, 4, 6, 6).requires_grad_(below)).sum().backward()
    assert seen == computed


def test_a_second_derivative_is_refused_not_wrong() -> None:
    weight, x = drawn(4, 1, 3, 3).requires_grad_(), drawn(2, 4, 6, 6).requires_grad_()
    outputs = Depthwise.apply(x, weight, None, (1, 1), (1, 1))
    (first,) = torch.autograd.grad(outputs.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
