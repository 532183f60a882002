"""Which early stages may stay as they are when time is short: by what the first steps would gain through each."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from headstart import model as models
from headstart.core import Batch, Phase
from headstart.tasks.single_label import SingleLabel
from headstart.train import sensitivity
from headstart.train.optim import stage_rates

TASK = SingleLabel(("a", "b"))
PHASE = Phase("all", 1, lr=1e-3, layer_decay=0.5, head_lr_scale=0.2)


def batches(count: int = 3, size: int = 6) -> list[Batch]:
    draw = np.random.default_rng(0)
    return [
        Batch(
            torch.from_numpy(draw.normal(size=(size, 3, 32, 32)).astype(np.float32)),
            torch.from_numpy(draw.integers(0, 2, size)),
            tuple(map(str, range(size))),
        )
        for _ in range(count)
    ]


def test_a_stage_gains_its_rate_times_its_gradient() -> None:
    """The slow twin: the sum of two batches' mean losses, differentiated at once."""
    model = models.build(models.build_backbone("tiny"), 2)
    shares = sensitivity.shares_of_gain(model, TASK, PHASE, iter(batches()))
    assert shares is not None
    twin = models.build(models.build_backbone("tiny"), 2).eval()
    loss = sum(nn.functional.cross_entropy(twin(each.inputs), each.targets) for each in batches()[:2])
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    gains = []
    for (_, stage), rate in zip(twin.stages(), stage_rates(4, PHASE), strict=True):
        norms = {id(p) for module in stage.modules() if isinstance(module, nn.BatchNorm2d) for p in module.parameters()}
        own = [p for p in stage.parameters() if id(p) not in norms]
        gains.append(rate * sum(float(p.grad.abs().sum()) for p in own if p.grad is not None))
    assert shares == pytest.approx([gain / sum(gains) for gain in gains], rel=1e-3)
    assert sum(shares) == pytest.approx(1.0)


def test_a_head_of_which_a_part_is_new_says_nothing_of_the_body() -> None:
    """What a decoder gains is large whatever the body does; the shares are those of the body alone."""
    model = models.build(models.build_backbone("tiny"), 2)
    whole = sensitivity.shares_of_gain(model, TASK, PHASE, iter(batches()))
    model.head.solved_once = True
    body = sensitivity.shares_of_gain(model, TASK, PHASE, iter(batches()))
    assert whole is not None and body is not None and whole[-1] > 0.01 and body[-1] == 0.0
    assert body[:-1] == pytest.approx([share / sum(whole[:-1]) for share in whole[:-1]], rel=1e-4)


@pytest.mark.parametrize("norms", ["frozen", "adapt", "train"])
def test_the_model_is_left_as_it_was(norms: Any) -> None:
    model = models.build(models.build_backbone("tiny"), 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sensitivity.shares_of_gain(model, TASK, replace(PHASE, norms=norms), iter(batches()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
def test_without_memory_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(sensitivity, "gradients", short)
    model = models.build(models.build_backbone("tiny"), 2)
    assert sensitivity.without_idle_stages(model, TASK, PHASE, iter(batches())) == (PHASE, None)


@pytest.mark.parametrize(
    ("shares", "first"),
    [
        ([0.01, 0.02, 0.03, 0.4, 0.3, 0.24], 2),  # .01 + .02 is little, .06 is not
        ([0.05, 0.2, 0.2, 0.2, 0.2, 0.15], 1),
        ([0.06, 0.0, 0.0, 0.5, 0.3, 0.14], 0),  # later stages that gain nothing save no backward pass
        ([0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 3),  # the last three always learn
    ],
)
def test_the_longest_row_of_first_stages_that_gains_next_to_nothing_is_left_out(
    shares: list[float], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "shares_of_gain", lambda *_: shares)
    model = models.build(models.build_backbone("tiny"), 2)
    monkeypatch.setattr(model, "stages", lambda: [(f"stage{n}", nn.Identity()) for n in range(6)])
    phase, words = sensitivity.without_idle_stages(model, TASK, PHASE, iter(()))
    assert phase.first_stage == first
    assert (words is None) == (first == 0)
    assert words is None or f"before stage{first} " in words
