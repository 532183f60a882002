"""Sets of numbers that hold the truth as often as they say, whatever the noise is like."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from headstart.core import Outputs
from headstart.errors import BadSetting
from headstart.tasks import _choice as tasks
from headstart.tasks.regression import Regression

TASK = Regression(("height", "weight"), (170.0, 70.0), (10.0, 5.0))


def sample(count: int, seed: int) -> tuple[Outputs, torch.Tensor]:
    """Numbers whose noise is no Gaussian and twice as large as the model says."""
    draw = np.random.default_rng(seed)
    outputs = torch.from_numpy(draw.normal(size=(count, 4)))
    outputs[:, 2:] = 0.3 * outputs[:, 2:]
    noise = 2 * torch.from_numpy(draw.exponential(size=(count, 2)) - 1)
    return Outputs(outputs), outputs[:, :2] + noise * (0.5 * outputs[:, 2:]).exp()


def inside(task: Regression, outputs: Outputs, targets: torch.Tensor, alpha: float) -> np.ndarray:
    truths = targets.numpy() * np.array(task.scale) + np.array(task.centre)
    sets = [one.set(alpha) for one in task.predict(outputs, [""] * len(targets))]
    bounds = np.array([[each[name] for name in task.names] for each in sets])
    return (bounds[..., 0] <= truths) & (truths <= bounds[..., 1])


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 50])
def test_coverage_follows_the_law_over_draws_of_what_was_held_out(n: int) -> None:
    """Of 150 draws the mean coverage is ceil((n + 1) .9) / (n + 1), within three standard errors of the Beta law."""
    rank = math.ceil((n + 1) * 0.9)
    law = stats.beta(rank, n + 1 - rank)
    covered = [float(inside(TASK.fitted(*sample(n, seed)), *sample(400, 1000 + seed), alpha=0.1).mean()) for seed in range(150)]
    assert np.mean(covered) == pytest.approx(law.mean(), abs=3 * law.std() / math.sqrt(150))


def test_sets_are_as_wide_as_the_least_that_was_held_out() -> None:
    outputs, targets = sample(30, 0)
    fitted = TASK.fitted(outputs, targets)
    assert fitted.held is not None and [len(column) for column in fitted.held] == [30, 30]
    first = fitted.predict(outputs, list(map(str, range(30))))[0]
    low, high = first.set(0.1)["height"]
    assert (high - low) / 2 == pytest.approx(fitted.held[0][math.ceil(31 * 0.9) - 1] * first.deviations[0])
    assert (low + high) / 2 == pytest.approx(first.values[0])
    assert first.set(0.01)["height"] == [-math.inf, math.inf]
    assert TASK.predict(outputs, [""] * 30)[0].set(0.1)["weight"] == [-math.inf, math.inf]
    with pytest.raises(BadSetting, match="alpha"):
        first.set(1.5)
    assert TASK.failed("a", "broken").set() is None
    assert tasks.from_state(json.loads(json.dumps({**fitted.state(), "format": 1}))) == fitted


def test_what_nobody_knows_is_not_held_out() -> None:
    outputs, targets = sample(30, 0)
    targets[:10, 0] = float("nan")
    held = TASK.fitted(outputs, targets).held
    assert held is not None and [len(column) for column in held] == [20, 30]
    assert TASK.fitted(Outputs(torch.as_tensor(outputs.mean)[:0]), targets[:0]) == TASK
