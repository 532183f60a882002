"""A head that takes a new class: old rows stay, the new one stands on its prototype."""

from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart import model as models
from headstart.data.batches import Examples
from headstart.errors import BadSetting
from headstart.tasks._softmax import softmax
from headstart.tasks.single_label import SingleLabel
from headstart.train.features import Features
from headstart.train.handover import last_layer, start_new_rows, widened
from headstart.train.state import TrainState


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_wider_head_says_of_the_known_classes_what_it_said(kind: str) -> None:
    narrow = models.build(models.build_backbone("tiny"), 3, kind, seed=1).eval()
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = narrow(x)
        wide = widened(narrow, 5, seed=1).eval()
        after = wide(x)
    assert torch.allclose(after[:, :3], before, atol=1e-6)
    assert (after.softmax(1)[:, 3:] == 0).all()
    assert wide.backbone is narrow.backbone
    assert widened(narrow, 3, seed=1) is narrow


def test_a_guide_takes_new_classes_as_its_head_does() -> None:
    backbone = models.build_backbone("tiny", features="layers")
    narrow = models.build(backbone, 3, seed=1).eval()
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = narrow.learned(x)
        after = widened(narrow, 5, seed=1).eval().learned(x)
    for said, now in zip(before, after, strict=True):
        assert torch.allclose(now[:, :3], said, atol=1e-6) and (now.softmax(1)[:, 3:] == 0).all()


def test_new_rows_of_a_guide_stand_on_the_prototypes_of_what_it_sees() -> None:
    backbone = models.build_backbone("tiny", features="layers")
    model, width = models.build(backbone, 3, seed=1), backbone.bare.spec.width
    draw, targets = np.random.default_rng(0), torch.arange(12) % 3
    rows = draw.normal(size=(12, backbone.spec.width)).astype(np.float32)
    kept = [layer.weight.detach().clone()[:2] for layer in (model.head, model.head.guide)]
    train = MagicMock(Examples, indices=np.arange(12), targets=targets)
    task = SingleLabel(("a", "b", "c"))
    start_new_rows(MagicMock(TrainState, model=model, task=task, parts={"train": train}), Features(rows, 0, "drawn"), 2)
    for layer, before, seen in zip((model.head, model.head.guide), kept, (rows, rows[:, :width]), strict=True):
        weight = layer.weight.detach()
        wanted, _ = task.new_rows(seen, targets, before.numpy(), layer.bias.detach().numpy()[:2])
        assert torch.equal(weight[:2], before)
        np.testing.assert_allclose(weight[2:].numpy(), wanted, rtol=1e-5)


def test_a_head_that_does_not_end_in_a_linear_layer_says_so() -> None:
    with pytest.raises(BadSetting, match="does not end in a linear layer"):
        last_layer(torch.nn.Sequential(torch.nn.Linear(3, 2, device="meta"), torch.nn.Softmax(1)))


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_prototypes_have_the_scale_of_the_rows_and_the_share_of_their_class(seed: int, new: int) -> None:
    draw = np.random.default_rng(seed)
    known, width, n = 3, 6, 60
    weight, bias = draw.normal(0, 2, (known, width)).astype(np.float32), draw.normal(0, 1, known).astype(np.float32)
    targets = np.concatenate([np.arange(known + new), draw.integers(0, known + new, n)])
    inputs = (draw.normal(0, 1, (len(targets), width)) + np.eye(known + new, width)[targets] * 3).astype(np.float32)
    task = SingleLabel(tuple(f"class {place}" for place in range(known + new)))
    rows, offsets = task.new_rows(inputs, torch.from_numpy(targets), weight, bias)
    middle = weight.mean(0)
    lengths = np.linalg.norm(rows - middle, axis=1)
    assert lengths == pytest.approx([np.linalg.norm(weight - middle, axis=1).mean()] * new, rel=1e-4)
    for place, row in enumerate(rows):  # slow twin: one class, one image at a time
        mean = sum(x for x, y in zip(inputs, targets, strict=True) if y == known + place) / (targets == known + place).sum()
        away = mean - inputs.mean(0)
        assert np.dot(row - middle, away) == pytest.approx(np.linalg.norm(row - middle) * np.linalg.norm(away), rel=1e-4)
    probs = softmax(inputs.astype(float) @ np.concatenate([weight, rows]).T + np.concatenate([bias, offsets]))
    for place in range(new):
        assert probs[:, known + place].mean() == pytest.approx((targets == known + place).mean(), rel=1e-5)
