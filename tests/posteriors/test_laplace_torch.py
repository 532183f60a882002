"""Laplace's posterior against that of laplace-torch, in float64, where ours is exact.

Ours agrees with the whole precision, inverted, to 1e-13 (`test_laplace`); laplace-torch is 2e-8 off it.
"""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from headstart.posteriors import laplace
from headstart.posteriors._precision import BIAS_PRECISION
from headstart.posteriors._problem import Labelled, Problem
from headstart.tasks.regression import Regression
from headstart.tasks.single_label import SingleLabel

pytestmark = pytest.mark.slow


class Net(nn.Module):
    """A network whose last layer sees its inputs as they are."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Identity()
        self.head = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def oracle(
    given: torch.Tensor, said_by: nn.Linear, targets: torch.Tensor, likelihood: str, alpha: float, noise: float = 1.0
) -> tuple:
    """(mean, covariance) of the outputs by laplace-torch: all of the last layer's Hessian, one precision for weights, one for biases."""
    prior = torch.tensor([alpha] * said_by.weight.numel() + [BIAS_PRECISION] * said_by.out_features, dtype=torch.float64)
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        from laplace import Laplace

        net = Net(given.shape[1], said_by.out_features).double()
        net.head.load_state_dict(said_by.state_dict())
        kind = {"subset_of_weights": "last_layer", "hessian_structure": "full"}
        made = Laplace(net, likelihood, prior_precision=prior, sigma_noise=noise, **kind)
        made.fit(DataLoader(TensorDataset(given, targets), batch_size=16))
        return made._glm_predictive_distribution(given)


def layer(inputs: int, outputs: int) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(inputs, outputs).double()


def inputs(count: int = 50, width: int = 4) -> torch.Tensor:
    draw = np.random.default_rng(0).normal(size=(count, width))
    draw -= draw.mean(0)
    return torch.from_numpy(draw / draw.std(0).mean())  # in ours: centred, in units of their common spread


def test_two_classes() -> None:
    given, head = inputs(), layer(4, 2)
    targets = torch.arange(50) % 2
    with torch.inference_mode():
        said = head(given)
    mean, covariance = oracle(given, head, targets, "classification", 3.0)
    seen = Labelled(given, said.clone(), targets)
    found = laplace.around(Problem(SingleLabel(("a", "b")), seen, seen.some(0), np.array([3.0, 3.0]), 50))
    ours = found.covariance(given)
    contrast = torch.tensor([1.0, -1.0]).double()
    assert torch.allclose(mean.detach(), said, atol=1e-12)
    assert (contrast @ ours @ contrast).numpy() == pytest.approx((contrast @ covariance.detach() @ contrast).numpy(), rel=1e-7)


def test_a_number() -> None:
    given, head = inputs(), layer(4, 1)
    deviation = 0.5
    targets = torch.from_numpy(np.random.default_rng(1).normal(size=(50, 1)))
    _, covariance = oracle(given, head, targets, "regression", 2.0, deviation)
    with torch.inference_mode():
        said = torch.cat([head(given), torch.full((50, 1), 2 * np.log(deviation))], 1)
    seen = Labelled(given, said.clone(), targets)
    found = laplace.around(Problem(Regression(("y",), (0.0,), (1.0,)), seen, seen.some(0), np.array([2.0, np.inf]), 50))
    assert found.covariance(given)[:, 0, 0].numpy() == pytest.approx(covariance.detach()[:, 0, 0].numpy(), rel=1e-7)
