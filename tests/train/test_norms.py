"""Statistics of norms estimated again: their closed form, and that nothing else of the model moves."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import headstart as hs
from headstart.core import Event, Note
from headstart.data.batches import order
from headstart.modalities import image
from headstart.model import BatchNorm
from headstart.train import norms
from headstart.train.state import TrainState


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def show(self, event: Event) -> None:
        self.texts.extend([event.text] if isinstance(event, Note) else [])

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def shapes(make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(12)


def learner(folder: Path, observer: Notes | None = None, **settings: Any) -> hs.Learner:
    given = {"backbone": "tiny", "batch_size": 8, "keep": "last", **settings}
    return hs.Learner(hs.image_folder(folder), observer=observer or Notes(), **given)


def state_of(learn: hs.Learner) -> TrainState:
    return learn._session.ready().state


def inputs(state: TrainState, rows: Any) -> Tensor:
    examples = state.parts["train"]
    pixels = examples.store.stored(examples.indices[rows].tolist())
    return image.to_input(torch.from_numpy(pixels), examples.store.modality)


def test_one_batch_leaves_its_own_statistics_in_every_norm(shapes: Path) -> None:
    """Twin: a forward in training mode with momentum 1, after which each norm holds what it saw."""
    state = state_of(learner(shapes))
    twin = copy.deepcopy(state.model)
    for module in twin.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        twin.train()(inputs(state, np.arange(len(state.parts["train"]))))
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    modes = [module.training for module in state.model.modules()]
    momenta = [module.momentum for module in state.model.modules() if isinstance(module, BatchNorm)]
    list(norms.adapt(state, 0))
    after = state.model.state_dict()
    for name, tensor in twin.state_dict().items():
        if "num_batches" in name:
            continue
        moved = "running" in name
        assert torch.allclose(after[name], tensor if moved else before[name], rtol=1e-4, atol=1e-5), name
        assert not moved or not torch.allclose(after[name], before[name], rtol=1e-3), name
    assert [module.training for module in state.model.modules()] == modes
    assert [module.momentum for module in state.model.modules() if isinstance(module, BatchNorm)] == momenta


def test_several_batches_count_alike_and_frozen_stages_keep_theirs(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "IMAGES_AT_ONCE", 5)
    state = state_of(learner(shapes))
    blocks = state.model.backbone.net.blocks
    first = blocks[0][1].running_mean.clone()
    list(norms.adapt(state, 1))
    assert torch.equal(blocks[0][1].running_mean, first)
    with torch.no_grad():
        seen = [
            blocks[1][0](blocks[0].eval()(inputs(state, rows)))
            for rows in order(len(state.parts["train"]), 5, state.settings.seed, 0)
        ]
    assert len(seen) > 3
    mean = torch.stack([each.mean((0, 2, 3)) for each in seen]).mean(0)
    variance = torch.stack([each.var((0, 2, 3)) for each in seen]).mean(0)
    assert torch.allclose(blocks[1][1].running_mean, mean, rtol=1e-4, atol=1e-5)
    assert torch.allclose(blocks[1][1].running_var, variance, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_they_adapt_once_before_step_two_and_the_head_is_solved_again(shapes: Path) -> None:
    told = Notes()
    learn = learner(shapes, told, norms="adapt").fine_tune(1)
    texts = "\n".join(told.texts)
    assert texts.index("statistics of 3 batch norms") < texts.index("solved again")
    assert texts.count("solved again") == 2
    assert f"it was {learn.history[0]['valid_loss']:.3f} in the last row" in texts
    learn.more(1)
    assert "\n".join(told.texts).count("statistics of 3 batch norms") == 1


def test_a_backbone_without_batch_norms_says_so(shapes: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
    state = state_of(learner(shapes, backbone=net, size=32))
    (note,) = list(norms.adapt(state, 0))
    assert isinstance(note, Note) and "no batch norms" in note.text
