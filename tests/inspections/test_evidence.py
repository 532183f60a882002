"""Evidence: it adds up exactly where it must, agrees with captum, is zero where nothing is connected, and leaves no trace in the model."""

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradientXActivation
from torch import nn

from headstart import model as models
from headstart.backbones import from_module, from_timm
from headstart.backbones._maps import grid
from headstart.inspections import evidence
from headstart.model import Model

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
    with torch.no_grad():
        maps, logits = model.backbone.maps(x), model(x)[0]
        empty = evidence._contrast(model, torch.zeros_like(maps), 2)
    places, left = evidence.evidence(model, maps, 2)
    assert left < 1e-4
    assert places.sum() + float(empty) == pytest.approx(float(logits[2] - logits.mean()), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", BENT)
def test_what_is_left_over_behind_a_bent_head_is_small_and_told(name: str) -> None:
    model, x = perturbed(name), torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        maps = model.backbone.maps(x)
    places, left = evidence.evidence(model, maps, 1)
    whole = float((evidence._contrast(model, maps, 1) - evidence._contrast(model, torch.zeros_like(maps), 1)).detach())
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
    with torch.no_grad():
        maps = model.backbone.maps(x)
    ours, _ = evidence.evidence(model, maps, 3)
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
        maps = model.backbone.maps(torch.rand(1, 3, 32, 32))
    places, _ = evidence.evidence(model, maps, 0)
    assert (places[:2, 2:] == 0).all() and (places[2:, :2] == 0).all()
    assert np.abs(places[:2, :2]).sum() > 0


def test_hiding_what_counts_costs_most_and_hiding_nothing_costs_nothing() -> None:
    planted = evidence.plant(0).faulty
    assert planted.inputs is not None and planted.model is not None
    x = torch.full((1, 3, 56, 56), 0.2)
    assert np.abs(evidence.hiding(planted.model, x, 0)).max() < 1e-6
    x[0, 0, 24:32, 24:32] = 1.0
    hidden = evidence.hiding(planted.model, x, 0)
    row, column = divmod(int(hidden.argmax()), 7)
    assert 2 <= row <= 4 and 2 <= column <= 4  # windows are three parts wide
    assert np.abs(hidden[[0, 0, 6, 6], [0, 6, 0, 6]]).max() < 0.01 * hidden.max()


def test_a_network_that_answers_from_a_class_token_is_told_and_no_map_is_shown() -> None:
    assert "class token" in str(evidence._unfit(perturbed("vit_tiny_patch16_224"), torch.randn(2, 3, 224, 224)))


def test_a_network_of_tokens_that_averages_them_has_a_map() -> None:
    model, x = perturbed("mixer_s32_224"), torch.randn(2, 3, 224, 224)
    assert evidence._unfit(model, x) is None
    with torch.no_grad():
        maps = model.backbone.maps(x[:1])
    places, left = evidence.evidence(model, maps, 0)
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

    def mirrored(model: Model, maps: torch.Tensor, said: int) -> tuple[np.ndarray, float]:
        places, left = right(model, maps, said)
        return -places, left

    monkeypatch.setattr(evidence, "evidence", mirrored)
    found = evidence.inspect(planted)
    assert found.verdict == "look" and not found.checks[1].passed
    assert all("hiding disagrees" in str(strip.pictures[1].struck) for strip in found.strips)


def test_places_of_tokens_lie_where_they_lay_in_the_image() -> None:
    tokens = torch.arange(9.0).reshape(1, 9, 1)
    assert grid(tokens)[0, 0, 1, 2] == 5


def test_several_maps_at_once_are_told_and_no_error() -> None:
    model = perturbed("resnet18")
    net = model.backbone.net
    model.backbone._maps = lambda x: [net.forward_features(x)] * 2  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    assert "several maps" in str(evidence._unfit(model, torch.randn(2, 3, 64, 64)))
