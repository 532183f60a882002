"""Figures of masks, against scikit-learn on all places at once."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from headstart.metrics import places


def counted(truth: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    pairs = truth * classes + said
    return np.array([np.bincount(each.ravel(), minlength=classes**2).reshape(classes, classes) for each in pairs])


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 4, (6, 5, 7))
    said = np.where(draw.random(truth.shape) < 0.6, truth, draw.integers(0, 4, truth.shape))
    confusion, flat = counted(truth, said, 4), (truth.ravel(), said.ravel())
    assert places.miou(confusion).value == pytest.approx(jaccard_score(*flat, average="macro"))
    assert places.dice(confusion).value == pytest.approx(f1_score(*flat, average="macro"))
    assert places.pixel_accuracy(confusion).value == pytest.approx(accuracy_score(*flat))
    each = [one.value for one in places.by_class(confusion)]
    assert each == pytest.approx(jaccard_score(*flat, average=None).tolist())


def test_a_class_that_is_nowhere_is_left_out() -> None:
    truth = np.zeros((2, 3, 3), np.int64)
    truth[:, 0] = 1
    confusion = counted(truth, truth, 3)
    assert places.miou(confusion).value == places.dice(confusion).value == 1.0
    assert np.isnan(places.by_class(confusion)[2].value)


def test_the_interval_is_that_of_images_drawn_anew() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 3, (40, 8, 8))
    share = draw.uniform(0.3, 1.0, (40, 1, 1))
    said = np.where(draw.random(truth.shape) < share, truth, (truth + 1) % 3)
    found = places.pixel_accuracy(counted(truth, said, 3))
    right = (truth == said).mean((1, 2))
    half = 1.96 * right.std() / 40**0.5
    assert found.low < found.value < found.high and found.n == 40
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.25)
    alone = places.miou(counted(truth[:1], said[:1], 3))
    assert alone.low is None and alone.high is None
