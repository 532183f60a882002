"""One step: pieces add up to the batch, weights weigh, clipping clips, and nothing of it depends on the kind of task."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from headstart import model as models
from headstart.core import Batch, Phase
from headstart.tasks.single_label import SingleLabel
from headstart.train import course, loop
from headstart.train.optim import make_optimizer, set_rates
from headstart.train.pacing import ByEpochs
from headstart.train.step import step

TASK = SingleLabel(("a", "b", "c"))
PHASE = Phase("all", 1, lr=1e-2, clip=float("inf"), weight_decay=0.0)


def batch(size: int, weights: torch.Tensor | None = None) -> Batch:
    draw = np.random.default_rng(0)
    inputs = torch.from_numpy(draw.normal(size=(size, 3, 32, 32)).astype(np.float32))
    return Batch(inputs, torch.from_numpy(draw.integers(0, 3, size)), tuple(map(str, range(size))), weights)


def after(phase: Phase, given: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    model = models.build(models.build_backbone("tiny"), 3)
    models.norm_mode(model, phase.norms)
    optimizer = make_optimizer(model, phase)
    set_rates(optimizer, 1.0)
    loss = step(model, optimizer, given, TASK, phase)
    return float(loss), {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("piece", [1, 3, 16])
def test_pieces_add_up_to_the_batch(piece: int) -> None:
    whole_loss, whole = after(replace(PHASE, piece=100), batch(7))
    loss, gradients = after(replace(PHASE, piece=piece), batch(7))
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, whole[name], rtol=1e-3, atol=1e-6), name


def test_batch_statistics_are_those_of_the_whole_batch() -> None:
    phase = replace(PHASE, norms="adapt")
    loss, _ = after(replace(phase, piece=6), batch(6))
    assert loss == after(replace(phase, piece=100), batch(6))[0]
    assert loss != after(replace(phase, piece=3), batch(6))[0]  # which is what there is when memory runs short


@pytest.mark.parametrize("count", range(2, 8))
def test_no_piece_is_of_one_image_where_norms_learn_statistics(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    learned = models.Model.learned
    monkeypatch.setattr(models.Model, "learned", lambda self, x: sizes.append(len(x)) or learned(self, x))
    after(replace(PHASE, norms="train", piece=2), batch(count))
    assert sum(sizes) == count
    assert min(sizes) >= 2 and max(sizes) <= 3


@pytest.mark.parametrize("clip", [1.0, float("inf")])
def test_a_gradient_that_is_no_number_makes_the_loss_none(clip: float) -> None:
    model = models.build(models.build_backbone("tiny"), 3)
    models.norm_mode(model, PHASE.norms)
    optimizer = make_optimizer(model, PHASE)
    given = batch(4)
    assert torch.isfinite(step(model, optimizer, given, TASK, PHASE))
    model.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    assert torch.isnan(step(model, optimizer, given, TASK, replace(PHASE, clip=clip)))


def test_the_loss_is_the_sum_of_weighted_losses_by_the_number_of_images() -> None:
    weights = torch.tensor([3.0, 0.0, 2.0, 1.0])  # not of mean one: that they have over the training part only
    given = batch(4, weights)
    model = models.build(models.build_backbone("tiny"), 3)
    with torch.no_grad():
        losses = TASK.loss(model.eval()(given.inputs), given.targets)
    assert after(PHASE, given)[0] == pytest.approx(float((losses * weights).sum() / 4), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_weighted_batches_are_an_unbiased_sample_of_the_weighted_objective(size: int) -> None:
    """Over an epoch the losses of the batches, counted by their images, are the weighted mean over all images."""
    weights = torch.tensor([0.5, 0.5, 4.0, 0.5, 0.5, 0.5, 0.5])
    whole = batch(7, weights)
    model = models.build(models.build_backbone("tiny"), 3)
    with torch.no_grad():
        wanted = float((TASK.loss(model.eval()(whole.inputs), whole.targets) * weights).sum() / 7)
    found = 0.0
    for first in range(0, 7, size):
        part = slice(first, first + size)
        given = Batch(whole.inputs[part], whole.targets[part], whole.ids[part], weights[part])
        found += after(PHASE, given)[0] * len(given.ids) / 7
    assert found == pytest.approx(wanted, rel=1e-5)


def test_each_label_of_a_mixed_image_has_its_own_weight() -> None:
    weights = torch.tensor([3.0, 0.5, 1.0])
    given = batch(3, weights)
    mixed = replace(given, partners=given.targets.roll(1, 0), share=0.3, partner_weights=weights.roll(1, 0))
    model = models.build(models.build_backbone("tiny"), 3)
    with torch.no_grad():
        logits = model.eval()(given.inputs)
    own, others = TASK.loss(logits, given.targets), TASK.loss(logits, mixed.partners)
    wanted = (0.3 * weights * own + 0.7 * weights.roll(1, 0) * others).sum() / 3
    assert after(PHASE, mixed)[0] == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("piece", [2, 16])
def test_the_loss_of_mixed_images_is_mixed(piece: int) -> None:
    """For a loss that is linear in the label, as the cross-entropy is, that equals the loss of mixed labels."""
    given = batch(5)
    mixed = replace(given, partners=given.targets.roll(1, 0), share=0.3)
    model = models.build(models.build_backbone("tiny"), 3)
    with torch.no_grad():
        logits = model.eval()(given.inputs)
    labels = 0.3 * torch.eye(3)[given.targets] + 0.7 * torch.eye(3)[mixed.partners]
    wanted = -(labels * logits.log_softmax(1)).sum(1).mean()
    assert after(replace(PHASE, piece=piece), mixed)[0] == pytest.approx(float(wanted), rel=1e-5)


def test_clipping_bounds_the_gradient() -> None:
    _, gradients = after(replace(PHASE, clip=1e-3), batch(4))
    norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(("norms", "moves"), [("train", True), ("adapt", False), ("frozen", False)])
def test_norms_of_frozen_stages_learn_only_when_told_to(norms: Any, moves: bool) -> None:
    model = models.build(models.build_backbone("tiny"), 3)
    name = next(name for name, parameter in model.named_parameters() if parameter.ndim == 1)
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    phase = replace(PHASE, norms=norms, first_stage=len(model.stages()) - 1, warmup=0.0)
    list(loop.run(model, course.start(model, phase), lambda *_: iter([batch(6)] * 3), TASK, ByEpochs(phase, 3)))
    after = dict(model.named_parameters())
    assert (not torch.equal(after[name], before[name])) == moves
    matrices = [key for key, parameter in after.items() if parameter.ndim > 1 and key.startswith("backbone")]
    assert all(torch.equal(after[key], before[key]) for key in matrices)
