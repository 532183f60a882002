"""Evidence: it adds up exactly where it must, agrees with captum, is zero where nothing is connected, and leaves no trace in the model."""

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradientXActivation
from torch import nn

from headstart import model as models
from headstart.backbones import _cuts, from_module, from_timm, tiny
from headstart.backbones._maps import grid
from headstart.inspections import evidence
from headstart.inspections._shown import Shown, asked
from headstart.model import Model
from headstart.tasks.single_label import SingleLabel

AFFINE = ("resnet18", "regnetx_002", "efficientnet_b0", "densenet121")
BENT = ("convnext_atto", "mobilenetv3_small_050")


def perturbed(name: str, classes: int = 5, size: int | None = None) -> Model:
    """With random weights, biases and norms too: a fresh head is nearly linear."""
    torch.manual_seed(0)
    model = models.build(from_timm.build(name, pretrained=False, size=size), classes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.head.bias.add_(torch.randn(classes))
    return model


@pytest.fixture(autouse=True)
def generator() -> Any:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("name", AFFINE)
def test_the_map_adds_up_to_the_answer_where_the_rest_is_affine(name: str) -> None:
    model, x = perturbed(name), torch.randn(1, 3, 96, 96)
    cut = _cuts.at_the_end(model.backbone, x)
    with torch.no_grad():
        logits = model(x)[0]
        empty = evidence._contrast(model, cut, torch.zeros_like(cut.maps), asked(2, 5, True))
    places, left, elsewhere = evidence.evidence(model, cut, asked(2, 5, True))
    assert left < 1e-4 and elsewhere == 0.0
    assert places.sum() + float(empty) == pytest.approx(float(logits[2] - logits.mean()), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", BENT)
def test_what_is_left_over_behind_a_bent_head_is_small_and_told(name: str) -> None:
    model, x = perturbed(name), torch.randn(1, 3, 96, 96)
    cut, asks = _cuts.at_the_end(model.backbone, x), asked(1, 5, True)
    places, left, _ = evidence.evidence(model, cut, asks)
    empty = torch.zeros_like(cut.maps)
    whole = float((evidence._contrast(model, cut, cut.maps, asks) - evidence._contrast(model, cut, empty, asks)).detach())
    assert left == pytest.approx(abs(whole - places.sum()) / abs(whole), abs=1e-4)
    assert left < evidence.CLOSED


def test_it_is_gradient_times_activation_of_captum_where_the_rest_is_affine() -> None:
    model, x = perturbed("resnet18"), torch.randn(1, 3, 64, 64)

    class Contrast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = self.model(x)
            return logits - logits.mean(1, keepdim=True)

    layer = model.backbone.net.get_submodule("layer4")
    theirs = LayerGradientXActivation(Contrast(), layer).attribute(x, target=3)
    ours, _, _ = evidence.evidence(model, _cuts.at_the_end(model.backbone, x), asked(3, 5, True))
    np.testing.assert_allclose(ours, theirs[0].sum(0).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_quadrant_that_nothing_is_wired_to_has_exactly_no_evidence() -> None:
    """Rao et al. 2022 (DiFull): each class reads one quadrant alone."""

    class Quadrants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.look = nn.Conv2d(3, 4, 8, stride=8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps, mask = self.look(x).abs(), torch.zeros(4, 4, 4)
            for number in range(4):
                row, column = divmod(number, 2)
                mask[number, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 1.0
            return maps * mask

    model = models.build(from_module.build(Quadrants(), 32), 2).eval()
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]]))
    places, _, _ = evidence.evidence(model, _cuts.at_the_end(model.backbone, torch.rand(1, 3, 32, 32)), asked(0, 2, False))
    assert (places[:2, 2:] == 0).all() and (places[2:, :2] == 0).all()
    assert np.abs(places[:2, :2]).sum() > 0


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", pytest.param("cait_xxs24_224", marks=pytest.mark.slow)])
def test_behind_a_class_token_the_map_is_that_of_the_last_block_and_adds_up_with_what_the_token_holds(name: str) -> None:
    model, x = perturbed(name), torch.randn(2, 3, 224, 224)
    asks, place = asked(1, 5, True), evidence.where(model, x)
    assert not isinstance(place, str)
    cut = place(x[:1])
    assert isinstance(cut, _cuts.Before)
    with torch.no_grad():  # what goes in again comes out again
        torch.testing.assert_close(cut.features(cut.maps), model.backbone.features(x[:1]))
    places, left, elsewhere = evidence.evidence(model, cut, asks)
    whole = float((evidence._contrast(model, cut, cut.maps, asks) - evidence._contrast(model, cut, 0 * cut.maps, asks)).detach())
    assert places.shape == (14, 14) and np.abs(places).max() > 0
    assert left < evidence.CLOSED
    assert places.sum() + elsewhere * whole == pytest.approx(whole, abs=evidence.CLOSED * abs(whole))
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_the_class_token_holds_is_told_with_the_maps() -> None:
    model, x = perturbed("vit_tiny_patch16_224"), torch.randn(1, 3, 224, 224)
    task = SingleLabel(tuple("abcde"))
    shown = Shown("one.jpg", np.zeros((224, 224, 3), np.uint8), x, model, task)
    shown.__dict__["without"] = np.random.default_rng(0).normal(size=(7, 7, 5))  # hiding is another test's business
    found = evidence.look(evidence.plant(0).clean, [shown])
    assert "in what was gathered before" in found.caveats[1] and found.items[0]["in the class token"] != 0.0


def test_where_the_answer_hangs_on_no_place_it_is_told_and_no_map_is_shown() -> None:
    model = models.build(from_module.build(nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU()), 32), 2).eval()
    with torch.no_grad():
        model.head.weight.zero_()
    assert "no place" in str(evidence.where(model, torch.randn(2, 3, 32, 32)))


@pytest.mark.parametrize("learns", [True, False])
def test_an_answer_that_hangs_on_nothing_has_no_slope_whether_weights_learn_or_not(
    learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.build(tiny.build(), 4).eval().requires_grad_(learns)
    cut = _cuts.at_the_end(model.backbone, torch.randn(1, 3, 32, 32))
    assert evidence._slope(model, cut, cut.maps, asked(0, 4, True)).any()
    monkeypatch.setattr(_cuts, "features_of", lambda backbone, maps: torch.ones(1, 32))
    assert not evidence._slope(model, cut, cut.maps, asked(0, 4, True)).any()


def test_a_network_of_tokens_that_averages_them_has_a_map() -> None:
    model, x = perturbed("mixer_s32_224"), torch.randn(2, 3, 224, 224)
    place = evidence.where(model, x)
    assert not isinstance(place, str)
    cut = place(x[:1])
    assert isinstance(cut, _cuts.AtTheEnd)
    places, left, _ = evidence.evidence(model, cut, asked(0, 5, True))
    assert places.shape == (7, 7) and left < evidence.CLOSED and np.abs(places).max() > 0


def test_the_model_is_as_it_was_and_has_no_hooks() -> None:
    planted = evidence.plant(1).faulty
    model = planted.model
    assert model is not None
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    evidence.inspect(planted)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_map_that_hiding_disagrees_with_is_struck_through(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = evidence.plant(0).faulty
    right = evidence.evidence

    def mirrored(model: Model, cut: _cuts.Cut, asks: torch.Tensor) -> tuple[np.ndarray, float, float]:
        places, left, elsewhere = right(model, cut, asks)
        return -places, left, elsewhere

    monkeypatch.setattr(evidence, "evidence", mirrored)
    found = evidence.inspect(planted)
    assert found.verdict == "look" and not found.checks[1].passed
    assert all("hiding disagrees" in str(strip.pictures[1].struck) for strip in found.strips)


def test_places_of_tokens_lie_where_they_lay_in_the_image() -> None:
    tokens = torch.arange(9.0).reshape(1, 9, 1)
    assert grid(tokens)[0, 0, 1, 2] == 5


def test_several_maps_at_once_are_told_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = perturbed("resnet18")
    net = model.backbone.net
    model.backbone._maps = lambda x: [net.forward_features(x)] * 2  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    monkeypatch.setattr(_cuts, "FAR", 0)  # and going back is not tried
    assert "several maps" in str(evidence.where(model, torch.randn(2, 3, 64, 64)))
