"""Approximate leave-one-out against heads that were solved without each example."""

import numpy as np
import pytest
import torch

from headstart.core import Task
from headstart.posteriors import _left_out
from headstart.posteriors._left_out import left_out
from headstart.posteriors._problem import Labelled, Problem
from headstart.tasks.multi_label import MultiLabel
from headstart.tasks.regression import Regression
from headstart.tasks.single_label import SingleLabel
from headstart.train.head_solve import solve_softmax


def classes_of(count: int, classes: int, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    targets = np.arange(count) % classes
    rows = draw.normal(size=(count, width))
    rows[np.arange(count), targets % width] += 1.2
    rows -= rows.mean(0)
    return rows / rows.std(0).mean(), targets


def problem_of(
    task: Task, rows: np.ndarray, weight: np.ndarray, bias: np.ndarray, targets: torch.Tensor, precision: np.ndarray
) -> Problem:
    given = torch.from_numpy(rows)
    seen = Labelled(given, given @ torch.from_numpy(weight).T + torch.from_numpy(bias), targets)
    return Problem(task, seen, seen.some(0), precision, len(rows))


@pytest.mark.parametrize(("classes", "most", "off"), [(2, 1e-2, 1e-3), (4, 5e-2, 3e-3)])
def test_each_loss_is_that_of_a_head_that_has_not_seen_the_example(classes: int, most: float, off: float) -> None:
    """With four classes what lies between two directions of the outputs is dropped (`laplace`), which a single example feels more than the mean."""
    rows, targets = classes_of(200, classes)
    count, task, alpha = 200, SingleLabel(tuple(map(str, range(classes)))), 30.0
    head = solve_softmax(rows, targets, classes, alpha)
    truth = torch.from_numpy(targets)
    found = task.loss(left_out(problem_of(task, rows, head.weight, head.bias, truth, head.precision)), truth).numpy()
    seen = task.loss(torch.from_numpy(rows @ head.weight.T + head.bias), truth).numpy()
    brute = []
    for place in range(count):
        rest = np.arange(count) != place
        # in the units of the whole, so that the prior is the same
        scale = rows[rest].std(0).mean()
        one = solve_softmax(rows[rest], targets[rest], classes, alpha * scale**2)
        brute.append(float(task.loss(torch.from_numpy((rows[place] @ one.weight.T + one.bias)[None]), truth[place, None])))
    assert np.abs(found - brute).max() < most
    assert abs(found.mean() - np.mean(brute)) < off < np.mean(brute) - seen.mean()


def test_of_numbers_with_known_noise_it_is_exact() -> None:
    """The classical identity of ridge regression: the residual left out is the residual over one less its leverage."""
    draw, alpha, noise = np.random.default_rng(1), 2.0, 0.5
    rows = draw.normal(size=(40, 3))
    rows -= rows.mean(0)
    rows /= rows.std(0).mean()
    y = rows @ np.array([1.0, 0.5, -1.0]) + noise * draw.normal(size=40)
    z = np.hstack([rows, np.ones((40, 1))])
    prior = np.diag([alpha, alpha, alpha, 1e-2])
    weights = np.linalg.solve(z.T @ z / noise**2 + prior, z.T @ y / noise**2)
    hat = np.diag(z @ np.linalg.solve(z.T @ z / noise**2 + prior, z.T)) / noise**2
    expected = y - (y - z @ weights) / (1 - hat)
    task = Regression(("y",), (0.0,), (1.0,))
    weight, bias = np.vstack([weights[:3], np.zeros(3)]), np.array([weights[3], 2 * np.log(noise)])
    problem = problem_of(task, rows, weight, bias, torch.from_numpy(y[:, None]), np.array([alpha, np.inf]))
    found = left_out(problem).numpy()
    assert found[:, 0] == pytest.approx(expected, abs=1e-8)
    assert found[:, 1] == pytest.approx(np.full(40, 2 * np.log(noise)))


def test_many_directions_are_taken_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent labels have no curvature between them, so that both ways agree."""
    draw = np.random.default_rng(0)
    rows, weight = draw.normal(size=(30, 4)), draw.normal(size=(3, 4))
    targets = torch.from_numpy((draw.random((30, 3)) < 0.5).astype(np.float64))
    problem = problem_of(MultiLabel(("a", "b", "c")), rows, weight, np.zeros(3), targets, np.full(3, 2.0))
    together = left_out(problem)
    monkeypatch.setattr(_left_out, "TOGETHER", 0)
    assert left_out(problem).numpy() == pytest.approx(together.numpy(), abs=1e-9)


def test_an_example_that_alone_decides_a_direction_gives_numbers_still() -> None:
    rows = np.zeros((6, 2))
    rows[0, 0], rows[1:, 1] = 100.0, np.linspace(-1, 1, 5)
    problem = problem_of(
        SingleLabel(("a", "b")),
        rows,
        np.array([[1e-3, 0], [-1e-3, 0]]),
        np.zeros(2),
        torch.tensor([0, 1, 0, 1, 0, 1]),
        np.full(2, 1e-6),
    )
    assert bool(torch.isfinite(left_out(problem)).all())
