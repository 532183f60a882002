"""A user's module: copied, its classifier found, its mistakes named."""

from collections.abc import Iterator

import pytest
import timm
import torch
from torch import nn

from headstart.backbones import from_module
from headstart.errors import BadSetting


@pytest.fixture(autouse=True)
def own_randomness(untouched_randomness: None) -> Iterator[None]:
    """Networks that are built here by their plain constructors draw from a generator that is given back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class Classifier(nn.Module):
    """Registered in another order than called, as users' modules are."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 3)
        self.second = nn.Conv2d(4, 8, 3)
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.second(self.first(x)).mean((2, 3)))


def test_the_last_linear_layer_is_taken_off_a_copy_and_said_so() -> None:
    module = Classifier().train()
    backbone = from_module.build(module, size=16)
    assert backbone.spec.width == 8 and module.fc.out_features == 3 and isinstance(module.fc, nn.Linear)
    assert "fc: 8 -> 3" in backbone.notes[0]
    assert module.training and not any(m._forward_hooks for m in module.modules())
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(module.fc(backbone.features(x)), module(x))


def test_stages_follow_the_calls_not_the_registration() -> None:
    assert [name for name, _ in from_module.build(Classifier(), size=16).stages()] == ["first", "second"]


def test_an_identity_at_the_end_keeps_the_linear_layer() -> None:
    backbone = from_module.build(nn.Sequential(Classifier(), nn.Identity()), size=16)
    assert backbone.spec.width == 3 and backbone.notes == ()


def test_a_model_of_timm_brings_its_own_normalisation() -> None:
    spec = from_module.build(timm.create_model("test_vit", num_classes=4)).spec
    assert (spec.mean, spec.size, spec.width, spec.licence) == ((0.5, 0.5, 0.5), 160, 64, "apache-2.0")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(4, 4), r"cannot take a batch of images \[1, 3, 16, 16\].*Give size="),
        (nn.Flatten(0), r"must give one tensor of \[batch, features\].* got a tensor of shape \[768\]"),
    ],
)
def test_a_module_that_is_no_backbone(module: nn.Module, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        from_module.build(module, size=16)
