"""Hamiltonian Monte Carlo of a head against posteriors that are known: in closed form, by a grid, by the law of its draws."""

import numpy as np
import pytest
import torch
from jaxtyping import Float

from headstart.posteriors import _sampler, hmc, laplace
from headstart.posteriors._precision import BIAS_PRECISION
from headstart.posteriors._problem import Labelled, Problem
from headstart.tasks.regression import Regression
from headstart.tasks.single_label import SingleLabel


def given_of(count: int, width: int) -> Float[torch.Tensor, "count width"]:
    draw = np.random.default_rng(0).normal(size=(count, width))
    return torch.from_numpy((draw - draw.mean(0)) / draw.std(0).mean())


def raw(found: hmc.Hmc, given: torch.Tensor, said: torch.Tensor) -> Float[np.ndarray, "draws batch outputs"]:
    return found.drawn(given, said).samples.numpy()


@pytest.mark.slow
def test_a_number_has_the_gaussian_posterior() -> None:
    """With Gaussian noise that is known the posterior is Laplace's, exactly."""
    given, draw = given_of(60, 3), np.random.default_rng(1)
    truth = given @ torch.tensor([[1.0], [0.5], [-1.0]]).double()
    targets = truth + 0.5 * torch.from_numpy(draw.normal(size=(60, 1)))
    z = torch.cat([given, torch.ones(60, 1)], 1)
    prior = torch.diag(torch.tensor([2.0, 2.0, 2.0, BIAS_PRECISION]).double())
    weights = torch.linalg.solve(z.T @ z / 0.25 + prior, z.T @ targets / 0.25)
    said = torch.cat([z @ weights, torch.full((60, 1), 2 * np.log(0.5))], 1)
    seen = Labelled(given, said, targets)
    problem = Problem(Regression(("y",), (0.0,), (1.0,)), seen, seen.some(0), np.array([2.0, np.inf]), 60)
    found = hmc.draws(problem, 4, 150, 500)
    assert float(found.rhat.max()) < 1.02 and float(found.effective.min()) > 400 and float(found.divergences) == 0
    exact = laplace.around(problem).covariance(given)[:, 0, 0].numpy()
    moved = raw(found, given, said)[..., 0] - said[:, 0].numpy()
    error = np.sqrt(exact / hmc.KEPT)
    assert (np.abs(moved.mean(0)) < 4 * error).all()
    assert moved.var(0) == pytest.approx(exact, rel=0.6) and np.median(moved.var(0) / exact) == pytest.approx(1, abs=0.25)
    assert not (raw(found, given, said)[..., 1] - said[:, 1].numpy()).any()


@pytest.mark.slow
def test_two_classes_have_the_posterior_that_a_grid_finds() -> None:
    """One input and a bias: the contrast of the two logits, integrated over a fine grid of both numbers."""
    given = given_of(12, 1)
    targets = (given[:, 0] > 0).long()
    targets[3] = 1 - targets[3]
    alpha, head = 0.5, torch.tensor([[-0.8, 0.1], [0.8, -0.1]]).double()
    said = given * head[:, 0] + head[:, 1]
    seen = Labelled(given, said, targets)
    problem = Problem(SingleLabel(("a", "b")), seen, seen.some(0), np.array([alpha, alpha]), 12)
    found = hmc.draws(problem, 4, 300, 1500)
    slope, bias = np.meshgrid(np.linspace(-8, 14, 441), np.linspace(-8, 8, 321), indexing="ij")
    x, y = given[:, 0].numpy(), targets.numpy()
    contrast = slope[..., None] * x + bias[..., None]
    # what both logits share is free and independent, so a contrast of two weights with the variances 1 / alpha each has their sum
    log_posterior = -np.logaddexp(0, np.where(y == 1, -contrast, contrast)).sum(-1) - 0.25 * (
        alpha * slope**2 + BIAS_PRECISION * bias**2
    )
    mass = np.exp(log_posterior - log_posterior.max())
    mass /= mass.sum()
    probs = 1 / (1 + np.exp(-contrast))
    expected = (mass[..., None] * probs).sum((0, 1))
    spread = np.sqrt((mass[..., None] * probs**2).sum((0, 1)) - expected**2)
    drawn = torch.from_numpy(raw(found, given, said)).softmax(-1)[..., 1].numpy()
    assert float(found.rhat.max()) < 1.03
    assert (np.abs(drawn.mean(0) - expected) < 4 * spread / np.sqrt(hmc.KEPT)).all()
    assert drawn.std(0) == pytest.approx(spread, rel=0.35)


def test_the_head_as_it_is_is_where_the_target_pulls_least() -> None:
    """At the mode of the posterior the gradient is zero: the coordinates, the prior and the likelihood fit together."""
    from headstart.posteriors._whitened import Whitened
    from headstart.train.head_solve import solve_softmax

    given = given_of(80, 4)
    targets = torch.from_numpy(np.random.default_rng(2).integers(0, 3, 80))
    head = solve_softmax(given.numpy(), targets.numpy(), 3, precision=2.0)
    said = torch.from_numpy(given.numpy() @ head.weight.T + head.bias)
    seen = Labelled(given, said, targets)
    target = Whitened.of(Problem(SingleLabel(("a", "b", "c")), seen, seen.some(0), head.precision, 80))
    at_mode, away = torch.zeros(target.mode.numel(), 1).double(), torch.full((target.mode.numel(), 1), 0.5).double()
    energy, gradient = target(at_mode)
    assert float(gradient.abs().max()) < 2e-2 < float(target(away)[1].abs().max())  # the weak prior of the bias is all that pulls
    assert float(target(away)[0]) > float(energy)
    for place in (0, 3, 7):
        step = torch.zeros_like(away)
        step[place] = 1e-5
        slope = (target(away + step)[0] - target(away - step)[0]) / 2e-5
        assert float(slope) == pytest.approx(float(target(away)[1][place]), rel=1e-6)


def test_a_gaussian_target_is_sampled_and_judged() -> None:
    scale = torch.linspace(0.7, 1.4, 20).double()[:, None]

    def target(position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 0.5 * (position / scale).square().sum(0), position / scale**2

    draw = np.random.default_rng(0)
    found = _sampler.sample(target, torch.zeros(20, 4).double(), draw, 200, 1000)
    chains = found.positions.permute(0, 2, 1).numpy()
    assert 0.7 < found.accepted < 0.95 and found.divergences == 0 and found.gradients > 1200
    assert _sampler.rhat(chains).max() < 1.02 and _sampler.effective(chains).min() > 500
    error = scale[:, 0].numpy() / np.sqrt(_sampler.effective(chains))
    assert (np.abs(chains.mean((0, 1))) < 4 * error).all()
    assert chains.reshape(-1, 20).std(0) == pytest.approx(scale[:, 0].numpy(), rel=0.1)


def test_effective_draws_are_those_of_an_autoregression() -> None:
    """n (1 - r) / (1 + r) for a process with correlation r between neighbours; independent draws count in full."""
    draw = np.random.default_rng(0)
    noise = draw.normal(size=(4000, 4, 3))
    for share in (0.0, 0.6, 0.9):
        chain = np.empty_like(noise)
        chain[0] = noise[0] / np.sqrt(1 - share**2)
        for place in range(1, len(noise)):
            chain[place] = share * chain[place - 1] + noise[place]
        assert _sampler.effective(chain) == pytest.approx(16_000 * (1 - share) / (1 + share), rel=0.2)
        assert _sampler.rhat(chain).max() < 1.03


def test_chains_that_are_elsewhere_do_not_agree() -> None:
    chains = np.random.default_rng(0).normal(size=(400, 4, 1))
    chains[:, 0] += 3
    assert _sampler.rhat(chains)[0] > 1.5 and _sampler.effective(chains)[0] < 60
    drifting = chains + np.linspace(0, 6, 400)[:, None, None]
    assert _sampler.rhat(drifting)[0] > 1.5


@pytest.mark.slow
def test_chains_that_do_not_agree_say_so() -> None:
    given = given_of(30, 3)
    seen = Labelled(given, given[:, :2].clone(), torch.arange(30) % 2)
    found = hmc.draws(Problem(SingleLabel(("a", "b")), seen, seen.some(0), np.array([1.0, 1.0]), 30), 2, 1, 4)
    assert "do not agree yet" in found.words
    assert (
        "do not agree"
        not in hmc.draws(Problem(SingleLabel(("a", "b")), seen, seen.some(0), np.array([1.0, 1.0]), 30), 4, 200, 300).words
    )
