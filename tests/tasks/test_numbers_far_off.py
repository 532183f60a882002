"""Regression under Student's t: what it says, what it refuses, and that numbers far off the rest pull at nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import headstart as hs
from headstart.cli.main import main
from headstart.core import Outputs
from headstart.errors import BadSetting, UnknownName
from headstart.learner.facade import Learner
from headstart.tasks import _choice as tasks
from headstart.tasks.regression import Regression
from written import numbers

TASK = Regression(("x", "y"), (1.0, 2.0), (0.5, 3.0), "student")


class Silent:
    def show(self, event: object) -> None: ...

    def close(self) -> None: ...


def spoiled(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, their numbers with a tenth of them far off, and their numbers as they should be."""
    rows, clean = numbers(count)
    draw = np.random.default_rng(seed)
    wild = np.where(draw.random(count) < 0.1, 1000 * draw.normal(size=count), clean)
    return rows, wild, clean


def test_the_loss_is_the_density_of_students_t_per_unit() -> None:
    outputs, targets = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double(), TASK.encode([("1", "30")] * 5)
    truth, scale = np.array([1.0, 30.0]), np.exp(0.5 * outputs[:, 2:].numpy()) * np.array(TASK.scale)
    middle = outputs[:, :2].numpy() * np.array(TASK.scale) + np.array(TASK.centre)
    wanted = -stats.t.logpdf(truth, 4, middle, scale).sum(1)
    assert TASK.loss(outputs, targets).numpy() == pytest.approx(wanted, rel=1e-6)


def test_far_from_the_centre_it_bends_the_other_way() -> None:
    hessian = TASK.output_hessian(torch.zeros(1, 4, dtype=torch.float64), torch.tensor([[9.0, 0.0]]))[0]
    assert hessian[0, 0] < 0 < hessian[1, 1]


def test_an_interval_holds_95_of_100() -> None:
    outputs = torch.tensor([[0.0, 1.0, np.log(0.25), np.log(4.0)]])
    (said,) = TASK.predict(Outputs(outputs), ["a"])
    middle, scale = np.array([1.0, 5.0]), np.array([0.25, 6.0])
    for place, name in enumerate("xy"):
        wanted = stats.t.interval(0.95, 4, middle[place], scale[place])
        assert said.interval[name] == pytest.approx(list(wanted), rel=1e-6)
    assert said.deviations == pytest.approx(scale * np.sqrt(2), rel=1e-6)
    assert "4 degrees of freedom" in TASK.words.limit and "squared scale" in TASK.words.output


def test_what_is_not_known_of_the_mean_adds_to_the_variance() -> None:
    one = Regression(("x",), (0.0,), (2.0,), "student")
    covariance = torch.tensor([[[0.5, 0.0], [0.0, 0.0]]])
    (said,) = one.predict(Outputs(torch.zeros(1, 2), covariance), ["a"])
    assert (said.total, said.aleatoric, said.epistemic) == pytest.approx((2 * np.sqrt(2.5), 2 * np.sqrt(2), 2 * np.sqrt(0.5)))


def test_the_state_remembers_it_and_old_ones_are_gaussian() -> None:
    state = json.loads(json.dumps(TASK.state()))
    assert tasks.from_state(state) == TASK and TASK.solver == state["loss"] == "student"
    del state["loss"]
    assert tasks.from_state(state) == TASK.under("gaussian") != TASK
    with pytest.raises(UnknownName, match='Did you mean "student"'):
        tasks.from_state({**state, "loss": "studnt"})


def test_losses_that_mean_nothing_are_refused_before_anything_is_read() -> None:
    rows, wild, _ = spoiled(30)
    data = hs.from_arrays(rows, wild.tolist())
    with pytest.raises(UnknownName, match=r'no loss "studnet" of numbers\. Did you mean "student"'):
        Learner(data, task="regression", loss="studnet")
    for labels in (["a", "b"] * 15, [["a"], ["a", "b"], ["b"]] * 10):
        with pytest.raises(BadSetting, match=r"loss says how numbers lie.*'student'"):
            Learner(hs.from_arrays(rows, labels), loss="student")
    learn = Learner(data, task="regression", loss="student", observer=Silent())
    assert learn.task.under("student") == learn.task
    with pytest.raises(BadSetting, match=r"loss=\'gaussian\' comes too late.*hs\.Learner"):
        learn.fine_tune(0, loss="gaussian")


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_numbers_far_off_do_not_spoil_row_0() -> None:
    rows, wild, clean = spoiled(300)
    parts = ["test" if place >= 200 else "valid" if place % 5 == 0 else "train" for place in range(300)]
    errors, losses = {}, {}
    for loss in ("gaussian", "student"):
        data = hs.from_arrays(rows, wild.tolist(), parts=parts)
        learn = hs.Learner(data, task="regression", loss=loss, observer=Silent()).fine_tune(0)
        said = learn.predict(rows[200:])
        errors[loss] = np.sqrt(np.mean([(each.value - truth) ** 2 for each, truth in zip(said, clean[200:], strict=True)]))
        losses[loss] = learn.history[0]["valid_loss"]
    assert errors["student"] < 0.6 and errors["gaussian"] > 5 * errors["student"]  # the noise has a deviation of 0.5
    assert losses["student"] < losses["gaussian"] - 1


@pytest.mark.slow
@pytest.mark.usefixtures("plain_training")
def test_a_run_from_the_command_line_is_loaded_and_gone_on_with_under_its_loss(tmp_path: Path) -> None:
    rows, wild, _ = spoiled(60)
    lines = ["a,b,c,d,price", *(",".join(map(str, [*row, number])) for row, number in zip(rows, wild, strict=True))]
    (tmp_path / "spoiled.csv").write_text("\n".join(lines), encoding="utf-8")
    command = ["train", str(tmp_path / "spoiled.csv"), "--label-column", "price", "--task", "regression", "--epochs", "1"]
    assert main([*command, "--loss", "student", "--run", "robust", "--batch-size", "8"]) == 0
    assert json.loads(Path("robust/bundle/task.json").read_text(encoding="utf-8"))["loss"] == "student"
    learn = hs.load("robust", observer=Silent())
    assert learn.settings.loss == "student" and learn.task.under("student") == learn.task
    assert len(learn.more(1).history) == 3
    other = hs.Learner(learn.data, from_run="robust", observer=Silent())
    assert other.settings.loss is None and other.task == learn.task  # what nobody names stays as it was
    turned = hs.Learner(learn.data, from_run="robust", loss="gaussian", observer=Silent()).fine_tune(0)
    assert replace(turned.task, held=None) == replace(learn.task.under("gaussian"), held=None) and np.isfinite(
        turned.history[0]["valid_loss"]
    )
    assert main([*command, "--loss", "huber", "--run", "none"]) == 2 and not Path("none").exists()
