"""Dropout: drawn by seed and step alone, only where layers train, and gone when it is over."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import headstart as hs
from headstart import model as models
from headstart.backbones import from_module
from headstart.core import Batch, Phase, StepDone
from headstart.errors import BadSetting
from headstart.model import Model
from headstart.tasks.single_label import SingleLabel
from headstart.train import dropout
from headstart.train.optim import make_optimizer, set_rates
from headstart.train.step import step
from watched import Notes
from written import sentences, tiny_encoder


class Killed(BaseException):
    """What no observer may survive."""


PHASE = Phase("all", 1, lr=1e-2, dropout=0.5)


def dropping_model() -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Dropout(0.0), nn.ReLU(), nn.Identity())
    return models.build(from_module.build(net, 4), 3)


def loss_of(phase: Phase, number: int, model: Model | None = None) -> float:
    model = model or dropping_model()
    models.norm_mode(model, "frozen")
    optimizer = make_optimizer(model, phase)
    set_rates(optimizer, 1.0)
    given = Batch(torch.arange(96.0).reshape(2, 3, 4, 4) / 96, torch.tensor([0, 2]), ("a", "b"))
    return float(step(model, optimizer, given, SingleLabel(("a", "b", "c")), phase, number=number))


def test_draws_are_those_of_the_seed_and_the_step() -> None:
    assert loss_of(PHASE, 3) == loss_of(PHASE, 3)
    assert len({loss_of(PHASE, number) for number in range(4)}) == 4
    assert loss_of(replace(PHASE, seed=1), 3) != loss_of(PHASE, 3)
    assert loss_of(replace(PHASE, dropout=0.0), 3) == loss_of(replace(PHASE, dropout=0.0), 4)


def test_layers_are_as_they_were_afterwards_and_nothing_is_dropped_in_prediction() -> None:
    model, x = dropping_model(), torch.ones(2, 3, 4, 4)
    (layer,) = dropout.layers(model)
    loss_of(PHASE, 0, model)
    assert layer.p == 0.0
    assert torch.equal(model.outputs(x).mean, model.outputs(x).mean)
    with pytest.raises(ZeroDivisionError), dropout.dropping(model, PHASE, 0, torch.device("cpu")):
        assert layer.p == 0.5
        raise ZeroDivisionError
    assert layer.p == 0.0


def test_the_share_of_the_phase_is_dropped() -> None:
    model = models.build(from_module.build(nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Identity()), 4), 2)
    model.train()
    with dropout.dropping(model, replace(PHASE, dropout=0.25), 0, torch.device("cpu")):
        seen = model.backbone(torch.ones(400, 3, 4, 4))
    assert float((seen == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert float(seen.max()) == pytest.approx(1 / 0.75)


def test_a_backbone_without_such_layers_says_that_nothing_would_be_dropped(shapes: Path, tmp_path: Path) -> None:
    learn = hs.Learner(
        hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes(), run=tmp_path / "run", dropout=0.2
    )
    with pytest.raises(BadSetting, match="no dropout layers"):
        learn.fine_tune(1)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["fine_tune", "lr_find"])
def test_every_step_draws_anew(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    numbers = []

    def noted(*given: Any) -> Any:
        numbers.append(given[6])
        return step(*given)

    for module in ("loop", "lr_find"):
        monkeypatch.setattr(f"headstart.train.{module}.step", noted)
    learn = hs.Learner(hs.image_folder(shapes), backbone="tiny", batch_size=8, observer=Notes(), run=tmp_path / "run").fine_tune(
        0
    )
    learn.fine_tune(2) if verb == "fine_tune" else learn.lr_find()
    assert numbers == list(range(len(numbers))) and len(numbers) > 6


@pytest.mark.slow
def test_a_killed_training_with_dropout_ends_as_it_would_have(tmp_path: Path) -> None:
    encoder, (texts, labels) = tiny_encoder(tmp_path / "encoder"), sentences(40)

    class Killer(Notes):
        def show(self, event: Any) -> None:
            super().show(event)
            if isinstance(event, StepDone) and event.step == 3:
                raise Killed

    def learner(name: str, observer: Any) -> hs.Learner:
        data = hs.from_arrays(texts, labels)
        kind = {"backbone": str(encoder), "batch_size": 8, "checkpoint_seconds": 0.0, "keep": "last", "dropout": 0.3}
        return hs.Learner(data, observer=observer, run=tmp_path / name, **kind)

    straight = learner("straight", Notes()).fine_tune(2)
    plain = learner("plain", Notes())
    plain.fine_tune(2, dropout=0.0)
    with pytest.raises(Killed):
        learner("broken", Killer()).fine_tune(2)
    resumed = hs.resume(tmp_path / "broken", data=hs.from_arrays(texts, labels), observer=Notes())
    pairs = list(zip(straight.model.state_dict().values(), resumed.model.state_dict().values(), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs)
    assert any(
        not torch.equal(one, other) for one, other in zip(straight.model.parameters(), plain.model.parameters(), strict=True)
    )
