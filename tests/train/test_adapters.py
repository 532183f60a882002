"""Low-rank adapters: the chain rule by hand against autograd, the weight equal to its formula, nothing else moves."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from headstart import model as models
from headstart.backbones import bundled, from_timm, tiny
from headstart.backbones._convolve import SameConv
from headstart.core import Batch, Phase, Settings
from headstart.errors import BadSetting
from headstart.model import BatchNorm, Model
from headstart.tasks.single_label import SingleLabel
from headstart.train import adapters, loop
from headstart.train import course as courses
from headstart.train.optim import stage_rates
from headstart.train.pacing import ByEpochs

TASK = SingleLabel(("a", "b", "c"))
PHASE = Phase("all", 1, lr=1e-2, layer_decay=0.5, warmup=0.0, adapters=2)
BACKBONES = {
    "tiny": tiny.build,
    "bundled": lambda: bundled.build(pretrained=False),
    **{name: lambda name=name: from_timm.build(name, False) for name in ("test_vit", "test_resnet", "test_convnext")},
}


def built(name: str) -> Model:
    model = models.build(BACKBONES[name](), 3).eval()
    for module in model.modules():
        if isinstance(module, BatchNorm):
            nn.init.ones_(module.weight)  # timm's random residual blocks begin at zero, where no gradient passes
    return model


def batch(model: Model, size: int = 4) -> Batch:
    draw, side = np.random.default_rng(0), model.backbone.spec.size if model.backbone.spec.fixed_size else 32
    inputs = torch.from_numpy(draw.normal(size=(size, 3, side, side)).astype(np.float32))
    return Batch(inputs, torch.from_numpy(draw.integers(0, 3, size)), tuple(map(str, range(size))))


def trained(model: Model, steps: int = 3, phase: Phase = PHASE) -> courses.Course:
    course = courses.start(model, phase)
    list(loop.run(model, course, lambda *_: iter([batch(model)] * steps), TASK, ByEpochs(phase, steps)))
    return course


@pytest.mark.parametrize("name", BACKBONES)
def test_at_the_start_nothing_changes_and_later_nothing_but_weights_and_head(name: str, untouched_randomness: None) -> None:
    model = built(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    course = courses.start(model, PHASE)
    adapters.merge(course.adapters)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    course = trained(model)
    after = model.state_dict()
    assert list(after) == list(before)
    adapted = {each.name for each in course.adapters}
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    assert adapted and changed == adapted | {"head.weight", "head.bias"}
    for each in course.adapters:
        wanted = before[each.name].flatten(1).double() + each.scale * (each.up.double() @ each.down.double())
        assert torch.allclose(after[each.name].flatten(1).double(), wanted, rtol=1e-6, atol=1e-6)
        assert torch.linalg.matrix_rank((after[each.name] - before[each.name]).flatten(1).double(), rtol=1e-3) <= 2


@pytest.mark.parametrize("name", ["tiny", "bundled", "test_vit"])
def test_the_factors_get_the_gradients_of_autograd(name: str) -> None:
    """Slow twin: the weight as a function of its factors, differentiated by torch."""
    model = built(name)
    attached = courses.start(model, replace(PHASE, adapters=3)).adapters
    with torch.no_grad():
        for each in attached:
            each.up.normal_(std=0.01, generator=torch.Generator().manual_seed(1))
    adapters.merge(attached)
    given = batch(model)
    factors = {key: factor.detach().clone().requires_grad_() for each in attached for key, factor in each.factors().items()}
    weights = {
        each.name: (each.base + adapters.ALPHA / len(each.down) * factors[f"{each.name}/up"] @ factors[f"{each.name}/down"]).view(
            each.weight.shape
        )
        for each in attached
    }
    twin = copy.deepcopy(model)
    TASK.loss(functional_call(twin, weights, (given.inputs,)), given.targets).mean().backward()
    for rows in (slice(0, 1), slice(1, 4)):  # in pieces, as a step does
        (TASK.loss(model(given.inputs[rows]), given.targets[rows]).sum() / 4).backward()
    adapters.gradients(attached)
    for each in attached:
        assert each.weight.grad is None
        for key, factor in each.factors().items():
            wanted = factors[key].grad
            assert factor.grad is not None and wanted is not None
            assert torch.allclose(factor.grad, wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max())), key


@pytest.mark.parametrize(("rank", "numbers"), [(2, 2 * (16 + 27 + 24 + 144 + 32 + 216)), (20, 16 * 43 + 20 * 168 + 20 * 248)])
def test_the_numbers_that_learn(rank: int, numbers: int) -> None:
    """rank (outputs + inputs) of each layer, the rank at most the smaller of both."""
    model = built("tiny")
    course = courses.start(model, replace(PHASE, adapters=rank))
    assert sum(factor.numel() for each in course.adapters for factor in each.factors().values()) == numbers
    assert f"{numbers:,} numbers" in adapters.in_words(model, course.adapters)


def test_factors_learn_at_the_rate_of_their_stage_and_the_rest_is_frozen() -> None:
    model = built("tiny")
    course = courses.start(model, PHASE)
    rates = stage_rates(len(model.stages()), PHASE)
    peaks = {id(parameter): group["peak"] for group in course.optimizer.param_groups for parameter in group["params"]}
    wanted = {id(factor): rates[depth] for depth, each in enumerate(course.adapters) for factor in each.factors().values()}
    assert peaks == wanted | {id(parameter): rates[-1] for parameter in model.head.parameters()}
    adapted = {each.name for each in course.adapters}
    free = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert free == adapted | {"head.weight", "head.bias"}


def test_depthwise_convolutions_and_stages_before_the_first_have_none() -> None:
    names = [each.name for each in courses.start(built("bundled"), replace(PHASE, first_stage=3)).adapters]
    assert names and not [name for name in names if "conv_dw" in name or "blocks.0." in name or "stem" in name]
    assert courses.start(built("tiny"), replace(PHASE, first_stage=3)).adapters == ()
    assert courses.start(built("tiny"), replace(PHASE, adapters=0)).adapters == ()


def test_directions_are_a_function_of_the_seed_alone(untouched_randomness: None) -> None:
    one, same, other = (courses.start(built("tiny"), PHASE, seed).adapters[0].down for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1)])
def test_gradients_pass_through_a_frozen_depthwise_convolution(kernel: int, stride: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, x = SameConv(4, 4, kernel, stride, groups=4), torch.randn(2, 4, 9, 9, requires_grad=True)
    layer.weight.requires_grad_(False)
    layer(x).square().sum().backward()
    twin = x.detach().clone().requires_grad_()
    functional.conv2d(twin, layer.weight, None, stride, kernel // 2, 1, 4).square().sum().backward()
    assert layer.weight.grad is None and x.grad is not None and twin.grad is not None
    assert torch.allclose(x.grad, twin.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"adapters": -1}, {"adapters": 8, "norms": "train"}, {"adapters": 8, "pretrained": False}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting, match="adapters must be"):
        Settings(**wrong)
