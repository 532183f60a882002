"""The ramp of learning rates: where it ends, what it suggests, and that it changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import headstart as hs
from headstart.report import rates
from headstart.train import lr_find
from headstart.train.lr_find import Ramp


def ramp_of(losses: list) -> Ramp:
    values = tuple(map(float, losses))
    return Ramp(tuple(10.0 ** (place - 7) for place in range(len(losses))), values, values)


def test_the_valley_is_the_middle_of_the_longest_fall() -> None:
    assert lr_find.valley(ramp_of([5, 5.1, 5, 4, 3, 2, 1, 4, 3])) == pytest.approx(1e-4), "it falls from place 1 to 6: 3"
    assert lr_find.valley(ramp_of([5, 4, 3, 6, 5, 4, 3, 2, 1, 9])) == pytest.approx(1e-2), "from place 3 to 8: 5"


def test_no_fall_no_suggestion() -> None:
    assert lr_find.valley(ramp_of([1, 2, 3, 4])) is None
    assert lr_find.valley(ramp_of([1, 0.9, 1, 0.9, 1])) is None


def test_smoothing_against_a_slow_twin() -> None:
    losses = np.random.default_rng(0).normal(size=30).tolist()
    for place, found in enumerate(lr_find.smoothed(losses)):
        weights = [0.98 ** (place - k) for k in range(place + 1)]
        assert found == pytest.approx(np.average(losses[: place + 1], weights=weights))


@pytest.fixture
def learn(make_shapes: Callable[..., Path]) -> hs.Learner:
    return hs.Learner(hs.image_folder(make_shapes(12)), backbone="tiny", batch_size=8)


@pytest.mark.slow
@pytest.mark.parametrize(("runs_away", "steps"), [(40, 41), (1000, 100)])
def test_rates_grow_by_a_factor_until_the_loss_runs_away(
    learn: hs.Learner, monkeypatch: pytest.MonkeyPatch, runs_away: int, steps: int
) -> None:
    seen: list[list[float]] = []

    def step(model: Any, optimizer: Any, batch: Any, task: Any, phase: Any, adapted: Any, number: int) -> torch.Tensor:
        assert number == len(seen)
        seen.append(sorted({group["lr"] for group in optimizer.param_groups}))
        return torch.tensor(1.0 if len(seen) <= runs_away else 1000.0)

    monkeypatch.setattr(lr_find, "step", step)
    found = learn.lr_find()
    assert len(seen) == len(found.rates) == len(found.losses) == len(found.smoothed) == steps
    assert found.rates == pytest.approx(np.geomspace(1e-7, 10, 100)[:steps])
    for rate, of_stages in zip(found.rates, seen, strict=True):
        # three stages of a body, a hundred times apart, and the head at a fifth after a solved head
        assert of_stages == pytest.approx(sorted([rate / 100, rate / 10, rate, rate / 5]), rel=1e-6)
    assert found.usual == 3e-4


def test_a_loss_that_is_no_number_ends_the_ramp(learn: hs.Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 2.0, 1.0, 0.5, float("nan")])
    monkeypatch.setattr(lr_find, "step", lambda *_: torch.tensor(next(losses)))
    assert learn.lr_find().losses == (3.0, 2.0, 1.0, 0.5)


@pytest.mark.slow
def test_a_ramp_changes_nothing_and_the_head_is_still_solved(learn: hs.Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_find, "STEPS", 12)
    before = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    found = learn.lr_find()
    assert "random head" in found.head and len(set(found.losses)) > 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in learn.model.state_dict().items())
    assert not Path("runs").exists() and learn.history == []
    learn.fine_tune(0)
    (row,) = learn.history
    assert row["stage"] == "head" and row["lr"] is None, "solved, not trained by steps"
    kept = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    files = {path: path.read_bytes() for path in learn.run.path.rglob("*") if path.is_file()}
    assert "row 0" in learn.lr_find().head
    assert all(torch.equal(tensor, kept[name]) for name, tensor in learn.model.state_dict().items())
    assert files == {path: path.read_bytes() for path in learn.run.path.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_that_was_looked_at_first_is_the_run_that_was_not(make_shapes: Callable[..., Path]) -> None:
    data = hs.image_folder(make_shapes(8))
    plain, looked = (hs.Learner(data, backbone="tiny", batch_size=8) for _ in range(2))
    looked.evaluate()
    weights = [learner.fine_tune(0).model.state_dict() for learner in (plain, looked)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_what_is_told_and_drawn() -> None:
    found = rates.of(ramp_of([3.0, 3.1, 3, 2, 1, 0.5, 4]), 3e-4, "from the random head")
    told = repr(found)
    assert "base_lr=1.0e-04" in told and "random head" in told and "does not tell the best rate" in told and "3e-4" in told
    (axes,) = found.plot().axes
    assert axes.get_xscale() == "log" and "random head" in axes.get_xlabel()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "suggestion 1.0e-04" in labels
    assert "No suggestion" in repr(rates.of(ramp_of([1, 2, 3]), 3e-4, "x")) and rates.of(ramp_of([1, 2, 3]), 3e-4, "x").plot()
