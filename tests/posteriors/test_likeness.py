"""How unlike an example is: distances against all pairs written out, p-values against the law that they must keep to."""

import numpy as np
import pytest
import torch
from jaxtyping import Float
from scipy import stats

from headstart.posteriors import _likeness as likeness
from headstart.tasks._arrays import unlike_in_words


def drawn(count: int, seed: int, width: int = 12) -> Float[np.ndarray, "count width"]:
    return (np.random.default_rng(seed).normal(size=(count, width)) + np.arange(width)).astype(np.float32)


def test_distances_are_those_of_a_gaussian_of_unit_features_and_of_their_lengths() -> None:
    """Against the whole covariance, inverted: its leading part as it is, all other directions with their mean variance."""
    train, other = drawn(200, 0), 2 * drawn(8, 1)
    length = np.linalg.norm(train, axis=1)
    rows = (train / length[:, None]).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
    own = min(likeness.DIRECTIONS, 200 // likeness.EACH, 11)
    values[: 12 - own] = values[: 12 - own].sum() / (12 - own)
    inverse = vectors / values @ vectors.T
    apart = other / np.linalg.norm(other, axis=1)[:, None] - rows.mean(0)
    off = (np.log(np.linalg.norm(other, axis=1)) - np.log(length).mean()) / np.log(length).std()
    expected = (np.einsum("bi,ij,bj->b", apart, inverse, apart) + likeness.OF_LENGTH * off**2) / 12
    found = likeness.fit(train, drawn(10, 2)).distances(torch.from_numpy(other))
    assert found.numpy() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("count", [40, 400])
def test_fewer_examples_than_features_and_more_are_seen_alike(count: int) -> None:
    """What was learned from is at about one, whichever of the two products tells the directions."""
    train = drawn(count, 0, 100)
    found = likeness.fit(train, drawn(10, 1, 100))
    assert float(found.distances(torch.from_numpy(train)).median()) == pytest.approx(1.0, abs=0.5)
    assert float(found.distances(torch.from_numpy(drawn(50, 2, 100))).median()) < 4
    assert torch.allclose(found.basis.T @ found.basis, torch.eye(found.basis.shape[1]), atol=1e-5)


def test_many_features_are_told_in_single_precision_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    train, held, new = drawn(300, 0, 40), drawn(50, 1, 40), torch.from_numpy(3 * drawn(20, 2, 40))
    exact = likeness.fit(train, held).distances(new)
    monkeypatch.setattr(likeness, "LARGE", 0)
    torch.testing.assert_close(likeness.fit(train, held).distances(new), exact, rtol=1e-3, atol=0)


def test_what_lies_beyond_the_directions_makes_an_example_less_like_any() -> None:
    wide = likeness.DIRECTIONS + 20
    train = np.zeros((400, wide), np.float32)
    train[:, :10] = drawn(400, 0, 10)
    inside = train[:5].copy()
    outside = inside.copy()
    outside[:, -1] = np.linalg.norm(inside, axis=1)  # as far again, where no training example has anything
    found = likeness.fit(train, train[40:])
    near, far = (found.distances(torch.from_numpy(rows)) for rows in (inside, outside))
    assert bool((far > 100 * near).all())


def test_a_rank_among_held_out_examples_is_no_smaller_than_it_should_be() -> None:
    """Super-uniform p-values: over many draws the share with unlike >= 1 - a is at most a, and nearly a."""
    shares = []
    for seed in range(200):
        found = likeness.fit(drawn(40, 3 * seed), drawn(39, 3 * seed + 1))
        shares.append(float((found.unlike(torch.from_numpy(drawn(50, 3 * seed + 2))) >= 0.9 - 1e-9).double().mean()))
    mean, error = np.mean(shares), np.std(shares) / np.sqrt(len(shares))
    assert abs(mean - 0.1) < 3 * error  # with 39 held out a tenth is attained exactly
    assert stats.t.sf((mean - 0.1) / error, 199) > 1e-3


def test_ties_count_as_farther() -> None:
    train, held = drawn(20, 0), np.repeat(drawn(1, 1), 9, axis=0)
    found = likeness.fit(train, held)
    assert found.unlike(torch.from_numpy(held[:1])).item() == 0.0


def test_the_farthest_of_all_is_as_unlike_as_so_few_can_tell() -> None:
    found = likeness.fit(drawn(20, 0), drawn(19, 1))
    assert found.unlike(-torch.from_numpy(drawn(1, 2))).item() == pytest.approx(0.95)
    assert likeness.fit(drawn(20, 0), drawn(0, 1)).unlike(torch.from_numpy(drawn(3, 2))).tolist() == [0.0] * 3


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_examples_than_neighbours_are_all_compared_with(count: int) -> None:
    found = likeness.fit(drawn(count, 0), drawn(4, 1))
    assert bool(torch.isfinite(found.unlike(torch.from_numpy(drawn(5, 2)))).all())


def test_features_that_are_all_zero_are_no_error() -> None:
    found = likeness.fit(drawn(20, 0), drawn(5, 1))
    assert bool(torch.isfinite(found.distances(torch.zeros(2, 12))).all())


def test_a_state_makes_an_equal_one() -> None:
    found = likeness.fit(drawn(20, 0), drawn(5, 1))
    again = likeness.Likeness(**found.state())
    rows = torch.from_numpy(drawn(5, 2))
    assert torch.equal(again.unlike(rows), found.unlike(rows))


def test_beyond_all_that_was_held_out_farther_is_more_unlike() -> None:
    """Where forty were held out; with fewer the value stays at what they can tell. What lies within is ranked as before."""
    found = likeness.fit(drawn(60, 0), drawn(60, 1))
    rows = torch.from_numpy(drawn(30, 2))
    far, farther = (rows[:1] * length for length in (1e2, 1e6))
    one, other = found.unlike(far).item(), found.unlike(farther).item()
    assert 1 - 1 / 61 < one < other < 1
    inside = found.unlike(rows)[found.distances(rows) < found.held[-1]]
    steps = (1 - inside) * 61
    assert torch.allclose(steps, steps.round(), atol=1e-9) and float(steps.min()) >= 1
    few = likeness.fit(drawn(60, 0), drawn(20, 1))
    assert few.unlike(far).item() == few.unlike(farther).item() == pytest.approx(1 - 1 / 21)


def test_people_are_told_of_what_is_unlike() -> None:
    assert (
        unlike_in_words(0.99) == ", but unlike all that it learned from" and unlike_in_words(0.5) == unlike_in_words(None) == ""
    )


def parted(train: np.ndarray, folds: np.ndarray) -> list[likeness.Fold]:
    return [(train[folds != fold], train[folds == fold]) for fold in np.unique(folds)]


def test_training_examples_in_folds_are_told_by_the_others() -> None:
    train, held, folds = drawn(40, 0), drawn(7, 1), np.arange(40) % 4
    found, whole = likeness.fit(train, held, parted(train, folds)), likeness.fit(train, held)
    expected = [whole.held]
    for fold in range(4):
        others = likeness.fit(train[folds != fold], held)
        expected.append(others.distances(torch.from_numpy(train[folds == fold])))
    assert torch.allclose(found.held, torch.cat(expected).sort().values)
    assert torch.equal(found.middle, whole.middle) and torch.equal(found.basis, whole.basis)


@pytest.mark.slow
def test_ranks_among_these_are_no_smaller_than_they_should_be_either() -> None:
    shares = []
    for seed in range(200):
        found = likeness.fit(drawn(80, 3 * seed), drawn(20, 3 * seed + 1), parted(drawn(80, 3 * seed), np.arange(80) % 5))
        shares.append(float((found.unlike(torch.from_numpy(drawn(50, 3 * seed + 2))) >= 0.95).double().mean()))
    assert 0.03 < np.mean(shares) < 0.055
