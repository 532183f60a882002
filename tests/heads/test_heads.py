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


def test_a_guide_alone_moves_what_comes_before_it_and_the_head_follows() -> None:
    """Gradients: of the features and the guide those of the guide's loss, of the head those of its own."""
    linear = plugins.find("heads", "linear")
    head = linear.make(7, 3, 0).guided(4, 0)
    assert torch.equal(head.weight, linear.make(7, 3, 0).weight) and head.guide.in_features == 4
    given = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    by_guide, said = head.learned(given)
    assert torch.equal(said, head(given))
    (by_guide.square().sum() + said.square().sum()).backward()
    apart = given.detach().clone().requires_grad_()
    weight, bias = (each.detach().clone().requires_grad_() for each in (head.weight, head.bias))
    torch.nn.functional.linear(apart[:, :4], head.guide.weight.detach(), head.guide.bias.detach()).square().sum().backward()
    torch.nn.functional.linear(given.detach(), weight, bias).square().sum().backward()
    torch.testing.assert_close(given.grad, apart.grad)
    assert not given.grad[:, 4:].any()
    torch.testing.assert_close((head.weight.grad, head.bias.grad), (weight.grad, bias.grad))


def test_heads_without_a_guide_are_learned_through_what_they_say(make) -> None:
    head = make(7, 3, 0)
    given = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    (said,) = head.learned(given)
    assert head.guide is None and torch.equal(said, head(given))
