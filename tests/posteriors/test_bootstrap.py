"""An ensemble of heads on examples counted anew, against closed forms and another optimizer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import optimize

from headstart.posteriors import _whitened, bootstrap, laplace
from headstart.posteriors._precision import BIAS_PRECISION
from headstart.posteriors._problem import Labelled, Problem
from headstart.posteriors._whitened import Whitened
from headstart.tasks.regression import Regression
from headstart.tasks.single_label import SingleLabel


def given_of(count: int, width: int) -> torch.Tensor:
    draw = np.random.default_rng(0).normal(size=(count, width))
    return torch.from_numpy((draw - draw.mean(0)) / draw.std(0).mean())


def number(scatter: float, count: int = 200) -> tuple[Problem, torch.Tensor, torch.Tensor]:
    """A linear head that was solved for noise of deviation .5, on targets that scatter so much; its examples, and its prior."""
    given, draw = given_of(count, 3), np.random.default_rng(1)
    truth = given @ torch.tensor([[1.0], [0.5], [-1.0]]).double()
    targets = truth + scatter * torch.from_numpy(draw.normal(size=(count, 1)))
    z = torch.cat([given, torch.ones(count, 1)], 1)
    prior = torch.diag(torch.tensor([2.0, 2.0, 2.0, BIAS_PRECISION]).double())
    weights = torch.linalg.solve(z.T @ z / 0.25 + prior, z.T @ targets / 0.25)
    said = torch.cat([z @ weights, torch.full((count, 1), 2 * np.log(0.5))], 1)
    seen = Labelled(given, said, targets)
    return Problem(Regression(("y",), (0.0,), (1.0,)), seen, seen.some(0), np.array([2.0, np.inf]), count), z, prior


def test_each_head_of_a_number_is_weighted_ridge_regression() -> None:
    problem, z, prior = number(0.5, 60)
    target = Whitened.of(problem)
    counted = torch.from_numpy(np.random.default_rng(3).exponential(size=(5, 60)))
    position, left = bootstrap.descended(target, counted, target.mode.numel())
    assert float(left.max()) <= bootstrap.ENOUGH
    moved = target.weights(position)[0]  # [rank and bias, heads]
    along = target.rows @ moved  # by how much each head says more than the head as it is
    for member, weight in enumerate(counted):
        scaled = z.T * weight / 0.25
        exact = torch.linalg.solve(scaled @ z + prior, scaled @ problem.train.targets)
        expected = (z @ exact)[:, 0] - problem.train.said[:, 0]
        told = along[:, member] * float(target.directions[0, 0])
        np.testing.assert_allclose(told.numpy(), expected.numpy(), atol=2e-3)


def test_its_spread_is_the_sandwich_also_where_the_likelihood_is_wrong() -> None:
    """Targets scatter three times as much as the head was told: Laplace's spread is that of the likelihood, the ensemble's is not."""
    problem, z, prior = number(1.5)
    found = bootstrap.ensemble(problem, 500)
    said = found.drawn(problem.train.given[:20], problem.train.said[:20]).samples
    assert said is not None
    spread = torch.as_tensor(said)[..., 0].var(0)
    hessian = torch.linalg.inv(z.T @ z / 0.25 + prior)
    gradients = z * (problem.train.said[:, :1] - problem.train.targets) / 0.25
    sandwich = (z[:20] @ hessian @ (gradients.T @ gradients) @ hessian * z[:20]).sum(1)
    naive = laplace.around(problem).covariance(problem.train.given[:20])[:, 0, 0]
    assert float((spread / sandwich).median()) == pytest.approx(1.0, abs=0.15)
    assert float((spread / naive).median()) > 5


def test_a_head_of_classes_is_the_mode_that_another_optimizer_finds() -> None:
    draw = np.random.default_rng(0)
    given = given_of(80, 4)
    targets = torch.from_numpy(draw.integers(0, 3, 80))
    seen = Labelled(given, torch.zeros(80, 3).double(), targets)  # a head that says nothing is as good as any to start from
    problem = Problem(SingleLabel(("a", "b", "c")), seen, seen.some(0), np.full(3, 2.0), 80)
    target = Whitened.of(problem)
    counted = torch.from_numpy(draw.exponential(size=(1, 80)))
    position, left = bootstrap.descended(target, counted, target.mode.numel())

    def energy(place: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = target(torch.from_numpy(place)[:, None], counted)
        return float(value[0]), gradient[:, 0].numpy()

    exact = optimize.minimize(energy, np.zeros(target.mode.numel()), jac=True, method="BFGS", options={"gtol": 1e-8})
    assert float(left[0]) <= bootstrap.ENOUGH
    assert float(target(position, counted)[0][0]) == pytest.approx(exact.fun, abs=1e-4)
    np.testing.assert_allclose(position[:, 0].numpy(), exact.x, atol=2e-2)


def test_examples_that_all_count_once_leave_the_head_where_it_is() -> None:
    problem, _, _ = number(0.5, 60)
    target = Whitened.of(problem)
    position, _ = bootstrap.descended(target, torch.ones(3, 60).double(), target.mode.numel())
    assert float(target.weights(position).abs().max()) < 1e-6


def test_it_says_how_many_heads_there_are_and_where_one_has_not_arrived() -> None:
    problem, _, _ = number(0.5, 60)
    found = bootstrap.fit(problem)
    assert found.words.startswith("32 heads on examples counted anew") and "gradient" not in found.words
    assert "still has 20 % of its gradient" in replace(found, left=torch.full_like(found.left, 0.2)).words


def test_rows_that_only_seem_orthogonal_give_the_weights_that_say_the_same() -> None:
    """In single precision sixty small directions keep a trace of a large one, and have other lengths than their eigenvalues tell."""
    draw = np.random.default_rng(0)
    large = 50.0 * draw.normal(size=200)
    small = 2e-3 * draw.normal(size=(200, 60)) + 2e-4 * large[:, None] * draw.normal(size=60)
    rows = np.column_stack([small, large]).astype(np.float32)
    along = np.column_stack([0.1 * large, 0.02 * large + draw.normal(size=60) @ small.T])
    found = _whitened.weights_of(rows, along, np.array([1000.0, 1000.0]))
    np.testing.assert_allclose(rows @ found, along, atol=0.05)
    assert np.abs(found).max() < 5.0
    naive = rows.T @ along / np.append(np.full(60, 200 * 4e-6), 200 * 2500.0)[:, None]  # as if they were
    assert np.abs(naive).max() > 1000.0
