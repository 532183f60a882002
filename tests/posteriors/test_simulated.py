"""Simulation-based calibration (Talts et al. 2018): weights drawn from the prior lie anywhere among the draws of their posterior, equally often."""

import numpy as np
import pytest
import torch
from scipy import stats

from headstart.posteriors import _precision, _whitened, hmc, laplace
from headstart.posteriors._problem import Labelled, Problem
from headstart.tasks.regression import Regression
from headstart.tasks.single_label import SingleLabel
from headstart.train.head_solve import solve_softmax

ALPHA = 0.5


@pytest.fixture(autouse=True)
def moderate_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prior of a bias as strong as that of a weight: with one of 10 nats most simulated sets hold one class."""
    monkeypatch.setattr(_precision, "BIAS_PRECISION", ALPHA)
    monkeypatch.setattr(_whitened, "BIAS_PRECISION", ALPHA)


def rows_of(draw: np.random.Generator, count: int, width: int) -> np.ndarray:
    rows = draw.normal(size=(count, width))
    rows -= rows.mean(0)
    return rows / rows.std(0).mean()


def chi_square(places: list[int], bins: int) -> float:
    """The p-value of equal shares."""
    return float(stats.chisquare(np.bincount(places, minlength=bins)).pvalue)


@pytest.mark.slow
def test_the_posterior_of_a_number_is_calibrated() -> None:
    """500 sets: the place of the true mean of a new example in its Gaussian posterior is uniform."""
    places, noise = [], 0.7
    for seed in range(500):
        draw = np.random.default_rng(seed)
        rows, fresh = rows_of(draw, 15, 2), draw.normal(size=(1, 2))
        weights = draw.normal(size=3) / np.sqrt(ALPHA)
        z, new = (np.hstack([each, np.ones((len(each), 1))]) for each in (rows, fresh))
        y = z @ weights + noise * draw.normal(size=15)
        mode = np.linalg.solve(z.T @ z / noise**2 + ALPHA * np.eye(3), z.T @ y / noise**2)
        said = np.column_stack([z @ mode, np.full(15, 2 * np.log(noise))])
        seen = Labelled(torch.from_numpy(rows), torch.from_numpy(said), torch.from_numpy(y[:, None]))
        found = laplace.around(Problem(Regression(("y",), (0.0,), (1.0,)), seen, seen.some(0), np.array([ALPHA, np.inf]), 15))
        deviation = float(found.covariance(torch.from_numpy(fresh))[0, 0, 0].sqrt())
        places.append(int(20 * stats.norm.cdf((new @ weights - new @ mode)[0] / deviation)))
    assert chi_square(places, 20) > 0.01


@pytest.mark.slow
def test_draws_of_a_head_are_calibrated() -> None:
    """120 sets of two classes: the rank of the true contrast of a new example among the draws is uniform."""
    places = []
    for seed in range(120):
        draw = np.random.default_rng(seed)
        rows, fresh = rows_of(draw, 20, 2), draw.normal(size=(1, 2))
        weights = draw.normal(size=(3, 2)) / np.sqrt(ALPHA)
        z, new = (np.hstack([each, np.ones((len(each), 1))]) for each in (rows, fresh))
        probs = np.exp(z @ weights)
        targets = (draw.random(20) > probs[:, 0] / probs.sum(1)).astype(np.int64)
        head = solve_softmax(rows, targets, 2, ALPHA)
        said = torch.from_numpy(rows @ head.weight.T + head.bias)
        seen = Labelled(torch.from_numpy(rows), said, torch.from_numpy(targets))
        found = hmc.draws(Problem(SingleLabel(("a", "b")), seen, seen.some(0), head.precision, 20), 8, 50, 50)
        at = found.drawn(torch.from_numpy(fresh), torch.from_numpy(fresh @ head.weight.T + head.bias)).samples[:, 0]
        contrast = (at[:, 1] - at[:, 0]).numpy()[:99]
        true = float((new @ weights)[0] @ np.array([-1.0, 1.0]))
        places.append(int((contrast < true).sum()) // 10)
    assert chi_square(places, 10) > 0.01
