"""The contract of every head: shapes, seeds, gradients."""

import pytest
import torch

from headstart import plugins

LEVELS = {"decoder": lambda features: ((features - 4, 1), (1, 2))}
"""The maps, finest first or not, that so many features are for the heads that want maps."""


@pytest.fixture(params=plugins.names("heads"))
def make(request: pytest.FixtureRequest):
    levels = LEVELS.get(request.param, lambda _: ())
    module = plugins.find("heads", request.param)
    return lambda features, outputs, seed: module.make(features, outputs, seed, levels(features))


def stirred(head: torch.nn.Module) -> torch.nn.Module:
    """The head with what starts at zero moved away from it."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.01 * torch.ones_like(parameter) * (parameter == 0))
    return head


def test_outputs_and_gradients_reach_every_parameter(make) -> None:
    head = stirred(make(7, 3, 0))
    out = head(torch.randn(4, 7, generator=torch.Generator().manual_seed(0)))
    assert out.shape[:2] == (4, 3)
    out.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in head.parameters())


def test_a_function_of_the_seed_alone(make) -> None:
    state = torch.get_rng_state()
    one, same, other = (torch.cat([p.flatten() for p in make(5, 2, seed).parameters()]) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other) and torch.isfinite(one).all()
    assert torch.equal(state, torch.get_rng_state())


def test_weights_are_small_enough_to_start_undecided(make) -> None:
    features = torch.randn(256, 400, generator=torch.Generator().manual_seed(0))
    assert make(400, 5, 0)(features).std() < 1
