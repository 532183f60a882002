"""Influence against leaving out in truth: the head is solved again without each example."""

from dataclasses import replace

import numpy as np
import pytest

from headstart.inspections import influence
from headstart.inspections._shown import asked
from headstart.inspections.influence import LeaveOneOut


def made(count: int, width: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of overlapping classes, and some that are asked about."""
    draw = np.random.default_rng(seed)
    middles = draw.normal(size=(classes, width))
    truth = np.arange(count) % classes
    return middles[truth] + 1.5 * draw.normal(size=(count, width)), truth, middles[[0, 1]] + draw.normal(size=(2, width))


@pytest.mark.parametrize(("width", "classes"), [(6, 2), (6, 4), (90, 3)])
def test_it_is_what_leaving_out_does(width: int, classes: int) -> None:
    """More features than examples too."""
    features, truth, some = made(60, width, classes, 0)
    known = LeaveOneOut.of(features, truth, classes)
    asks = np.stack([asked(number, classes, True).numpy() for number in (0, 1)])
    told, real = known.pushes(some, asks), np.empty((2, 60))
    for place in range(60):
        head = known.without(place)
        real[:, place] = known.answers(some, asks) - ((some @ head.weight.T + head.bias) * asks).sum(1)
    for one, other in zip(told, real, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.99
        assert np.abs(one - other).max() < 0.3 * np.abs(other).max(), "one Newton step, of few examples"


def test_steps_solve_the_hessian_that_the_loss_has() -> None:
    """By differences of the gradient of the penalised loss, direction by direction."""
    features, truth, _ = made(40, 5, 3, 1)
    known = LeaveOneOut.of(features, truth, 3)
    draw = np.random.default_rng(2)
    weights = np.concatenate([(known.turned.basis.T @ known.head.weight.T) * known.turned.scale, np.zeros((1, 3))])
    weights[-1] = known.head.bias + known.head.weight @ known.turned.mean

    def gradient(at: np.ndarray) -> np.ndarray:
        probs = influence.softmax(known.rows @ at)
        probs[np.arange(40), truth] -= 1.0
        return known.rows.T @ probs + known._prior[:, None] * at

    assert np.abs(gradient(weights)).max() < 1e-4, "the head is at its mode"
    way = draw.normal(size=(1, 6, 3))
    by_hand = (gradient(weights + 1e-5 * way[0]) - gradient(weights - 1e-5 * way[0])) / 2e-5
    np.testing.assert_allclose(known._hessian(way)[0], by_hand, rtol=1e-4, atol=1e-5)
    wanted = known._hessian(way)
    np.testing.assert_allclose(known._hessian(known._inverse(wanted)), wanted, rtol=1e-4, atol=1e-5)


def test_many_classes_are_told_without_the_examples_own_curvature() -> None:
    features, truth, some = made(160, 8, 40, 3)
    known = LeaveOneOut.of(features, truth, 40)
    told = known.pushes(some[:1], asked(0, 40, True).numpy()[None])
    assert told.shape == (1, 160) and np.isfinite(told).all()
    strongest = int(np.abs(told[0]).argmax())
    head = known.without(strongest)
    real = float(
        (
            known.answers(some[:1], asked(0, 40, True).numpy()[None])
            - (some[:1] @ head.weight.T + head.bias) @ asked(0, 40, True).numpy()
        )[0]
    )
    assert np.sign(told[0, strongest]) == np.sign(real) and abs(told[0, strongest] - real) < 0.5 * abs(real)


def test_a_finding_shows_what_speaks_for_and_against_and_checks_itself() -> None:
    found = influence.inspect(influence.plant(0).faulty)
    assert not found.checks[0].passed, "of twelve examples one is much, and one Newton step too short: it is told"
    assert found.checks[0].told.count("left out") == influence.LEFT_OUT
    assert found.checks[1].passed and found.checks[1].told == "of 12 of 12 images"
    turned = influence.plant(0).faulty
    assert turned.classes is not None
    other = influence.inspect(replace(turned, classes=1 - turned.classes)).checks[1]
    assert not other.passed and other.told == "of 0 of 6 images", "none is right, so the six worst alone are looked into"
    for strip in found.strips:
        signs = [picture.caption.split()[-1][0] for picture in strip.pictures[1:]]
        assert signs == sorted(signs), "those that speak for it first"


def test_a_head_too_large_or_a_class_without_examples_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = influence.plant(0).faulty
    assert faulty.classes is not None
    lacking = replace(faulty, classes=np.zeros_like(faulty.classes))
    assert "no training example" in influence.inspect(lacking).headline
    monkeypatch.setattr(influence, "HELD", 10)
    assert "too many weights" in influence.inspect(faulty).headline
