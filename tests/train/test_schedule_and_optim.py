"""One group of parameters per stage, and how fast each learns."""

import pytest
import torch

from headstart import model as models
from headstart.core import Phase
from headstart.train.optim import make_optimizer, set_rates, stage_rates


def test_later_stages_learn_faster() -> None:
    phase = Phase("all", 1, lr=1.0, layer_decay=0.5, head_lr_scale=0.2)
    assert stage_rates(4, phase) == [0.25, 0.5, 1.0, 0.2]


def test_the_optimizer_holds_each_trainable_parameter_once_and_decays_matrices_only() -> None:
    model = models.build(models.build_backbone("tiny"), 2)
    models.set_trainable(model, 1)
    optimizer = make_optimizer(model, Phase("all", 1, lr=0.1, layer_decay=0.5, weight_decay=0.3))
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    for group in optimizer.param_groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] == 0.3}
    assert set_rates(optimizer, 0.5) == pytest.approx(0.05)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5 * group["peak"] for group in optimizer.param_groups}


def test_rates_reach_the_weights() -> None:
    """With one step of AdamW from zero moments every weight moves by its group's rate, whatever its gradient."""
    model = models.build(models.build_backbone("tiny"), 2)
    phase = Phase("all", 1, lr=0.01, layer_decay=0.5, weight_decay=0.0, head_lr_scale=0.2)
    optimizer = make_optimizer(model, phase)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    set_rates(optimizer, 1.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    rates, depths = stage_rates(len(model.stages()), phase), models.stage_of_parameters(model)
    for name, parameter in model.named_parameters():
        moved = (before[name] - parameter).abs().mean().item()
        assert moved == pytest.approx(rates[depths[name]], rel=1e-3), name
