"""The average of the weights: its closed form, what belongs to it, and that training goes on as if it were not there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart import model as models
from headstart.core import Batch, Event, Phase, Settings
from headstart.errors import BadSetting
from headstart.model import Model
from headstart.tasks.single_label import SingleLabel
from headstart.train import average, loop
from headstart.train import course as courses
from headstart.train.pacing import ByEpochs

PHASE = Phase("all", 1, lr=1e-2, warmup=0.0, ema=0.5)


class Quiet:
    def show(self, event: Event) -> None: ...

    def close(self) -> None: ...


def tiny() -> Model:
    return models.build(models.build_backbone("tiny"), 2)


def run(model: Model, phase: Phase) -> courses.Course:
    draw = np.random.default_rng(0)
    batches = [
        Batch(torch.from_numpy(draw.normal(size=(4, 3, 32, 32)).astype(np.float32)), torch.tensor([0, 1, 1, 0]), tuple("abcd"))
        for _ in range(4)
    ]
    course = courses.start(model, phase)
    list(loop.run(model, course, lambda *_: iter(batches), SingleLabel(("a", "b")), ByEpochs(phase, 4)))
    return course


def test_the_average_is_the_sum_that_its_decays_tell() -> None:
    """average_T = sum over t of (1 - d_t) d_{t+1} ... d_T w_t, with w_0 in full; beyond step 8 the decay is .5."""
    model, weights = tiny(), [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, -6.0, 5.0, 3.0, 5.0, 8.0]
    model.head.bias.data.fill_(weights[0])
    kept = average.begun(model, 0.5)
    for step, weight in enumerate(weights[1:], start=1):
        model.head.bias.data.fill_(weight)
        average.update(kept, model, 0.5, step)
    decays = [0.0, *(min(0.5, (1 + step) / (10 + step)) for step in range(1, len(weights)))]
    assert decays[1] < decays[7] < 0.5 == decays[9]
    shares = [(1 - decay) * np.prod(decays[step + 1 :]) for step, decay in enumerate(decays)]
    assert sum(shares) == pytest.approx(1.0)
    assert kept["head.bias"].tolist() == pytest.approx([np.dot(shares, weights)] * 2, rel=1e-5)


def test_the_loop_averages_and_trains_as_it_would_without() -> None:
    plain, averaged = tiny(), tiny()
    start = {name: tensor.clone() for name, tensor in averaged.state_dict().items()}
    assert run(plain, replace(PHASE, ema=None)).average == {}
    course = run(averaged, PHASE)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, averaged.state_dict()[name]), name
    head = course.average["head.weight"]
    assert not torch.equal(head, averaged.head.weight) and not torch.equal(head, start["head.weight"])


def test_statistics_belong_to_the_average_and_frozen_weights_do_not() -> None:
    course = courses.start(tiny(), replace(PHASE, norms="adapt", first_stage=1))
    names = set(course.average)
    assert {"backbone.net.blocks.1.1.running_var", "backbone.net.blocks.1.0.weight", "head.bias"} <= names
    assert "backbone.net.blocks.0.0.weight" not in names and not [name for name in names if "num_batches" in name]


def test_what_is_held_is_given_back_also_after_an_error() -> None:
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="stop"), average.holding(model, {"head.bias": torch.tensor([7.0, 8.0])}):
        assert model.head.bias.tolist() == [7.0, 8.0]
        model.head.bias.data.fill_(0.0)
        raise RuntimeError("stop")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.slow
def test_rows_and_bundle_are_those_of_the_average(make_shapes: Callable[..., Path]) -> None:
    learn = hs.Learner(
        hs.image_folder(make_shapes(12)), backbone="tiny", observer=Quiet(), ema=0.9, batch_size=8, keep="last", head="train"
    )
    learn.fine_tune(1)
    assert learn._session.begun is not None and learn._session.begun.state.course is not None
    for name, tensor in learn._session.begun.state.course.average.items():
        assert torch.equal(tensor, learn.model.state_dict()[name]), name
    assert learn.evaluate(posterior="none")["nll"].value == learn.history[-1]["valid_loss"]
    loaded = hs.load(learn.run.bundle).model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in learn.model.state_dict().items())


@pytest.mark.parametrize("wrong", [{"ema": -0.1}, {"ema": 1.0}, {"clip": 0.0}, {"weight_decay": -0.1}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(BadSetting, match=name):
        Settings(**wrong)
