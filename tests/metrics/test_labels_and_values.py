"""Metrics of several labels and of numbers against scikit-learn, their intervals, and the choice of thresholds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn import metrics as oracle

from headstart.errors import DataError
from headstart.metrics import labels, values
from headstart.metrics.noise import GAUSSIAN, Noise, Student
from headstart.metrics.values import Said


def drawn(n: int, count: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    targets = (draw.uniform(size=(n, count)) < np.linspace(0.2, 0.7, count)).astype(float)
    probs = 1 / (1 + np.exp(-(2 * targets - 1 + draw.normal(size=(n, count)) * 1.5)))
    return np.round(probs, 2), targets  # rounded, so that there are ties


@pytest.mark.parametrize("n", [40, 300])
def test_labels_are_measured_as_scikit_learn_does(n: int) -> None:
    probs, targets = drawn(n)
    thresholds = np.array([0.3, 0.5, 0.6, 0.5])
    said = (probs >= thresholds).astype(float)
    known = labels.decided(thresholds)
    wanted = {
        "mAP": oracle.average_precision_score(targets, probs, average="macro"),
        "auroc": oracle.roc_auc_score(targets, probs, average="macro"),
        "f1": oracle.f1_score(targets, said, average="macro"),
        "f1_micro": oracle.f1_score(targets, said, average="micro"),
        "hamming": oracle.hamming_loss(targets, said),
        "exact_match": oracle.accuracy_score(targets, said),
        "brier": ((probs - targets) ** 2).mean(),
        "nll": sum(oracle.log_loss(targets[:, label], np.clip(probs[:, label], 1e-300, 1)) for label in range(4)),
    }
    assert wanted.keys() == known.keys()
    for name, value in wanted.items():
        found = known[name](probs, targets)
        assert found.value == pytest.approx(value, abs=1e-9), name
        assert found.low is not None and found.high is not None and found.low <= found.value <= found.high and found.n == n


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_what_nobody_knows_is_as_if_it_were_not_there(seed: int) -> None:
    probs, targets = drawn(60, 2, seed)
    hidden = np.random.default_rng(seed + 1).uniform(size=60) < 0.4
    partly = targets.copy()
    partly[hidden, 1] = np.nan
    for name in ("mAP", "auroc"):
        both = [
            labels.RANKED[name](probs[rows, label, None], targets[rows, label, None]).value
            for label, rows in ((0, np.arange(60)), (1, ~hidden))
        ]
        assert labels.RANKED[name](probs, partly).value == pytest.approx(np.mean(both))
    known = labels.decided(np.array([0.5, 0.5]))
    right = [(probs[:, 0] >= 0.5) == targets[:, 0], ((probs[:, 1] >= 0.5) == targets[:, 1]) | hidden]
    assert known["exact_match"](probs, partly).value == pytest.approx((right[0] & right[1]).mean())
    assert labels.losses(probs, partly)[hidden, 1].sum() == 0


def test_a_perfect_order_has_an_interval_too() -> None:
    targets = np.repeat([[1.0], [0.0]], 6, axis=0)
    found = labels.mAP(targets * 0.8 + 0.1, targets)
    assert found.value == 1.0 and found.low == pytest.approx(0.610, abs=1e-3)  # Wilson's bound of 6 of 6


def test_where_nothing_is_wrong_the_interval_still_doubts() -> None:
    probs, targets = drawn(30)
    known = labels.decided(np.full(4, 0.5))
    right = np.where(targets > 0.5, 0.9, 0.1)
    for name in ("f1", "f1_micro", "exact_match"):
        found = known[name](right, targets)
        assert (found.value, found.high) == (1.0, 1.0) and found.low == pytest.approx(0.886, abs=1e-3)  # Wilson's of 30 of 30
    assert known["hamming"](right, targets).high == pytest.approx(0.114, abs=1e-3)
    assert known["f1"](probs, targets).low < known["f1"](probs, targets).value < 1


def test_labels_that_tell_nothing_are_left_out_and_where_none_is_left_there_is_no_number() -> None:
    probs, targets = drawn(50)
    targets[:, 0] = 1.0
    assert labels.mAP(probs, targets).value == pytest.approx(oracle.average_precision_score(targets[:, 1:], probs[:, 1:]))
    for metric in (labels.mAP, labels.auroc):
        found = metric(probs, np.ones_like(targets))
        assert np.isnan(found.value) and (found.low, found.high, found.n) == (None, None, 0)


def test_thresholds_maximise_f1_and_are_drawn_half_way() -> None:
    probs, targets = drawn(200, 1, seed=3)
    chosen = labels.best_thresholds(probs, targets)
    cuts = np.unique(probs)
    scores = [oracle.f1_score(targets[:, 0], probs[:, 0] >= cut) for cut in cuts]
    best = int(np.argmax(scores))
    below = cuts[best - 1] if best else 0.0
    assert 2 * chosen[0] - 0.5 == pytest.approx((cuts[best] + below) / 2)
    assert labels.best_thresholds(probs[:6], np.array([[1.0], [0.0], [0.0], [0.0], [0.0], [0.0]])).tolist() == [0.5]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_numbers_are_measured_as_scikit_learn_does(count: int) -> None:
    draw = np.random.default_rng(count)
    targets = draw.normal(size=(60, count)) * [1, 10, 100][:count]
    said = Said(targets + draw.normal(size=targets.shape), draw.uniform(0.5, 2, targets.shape))
    wanted = {
        "rmse": oracle.root_mean_squared_error(targets, said.mean),
        "mae": oracle.mean_absolute_error(targets, said.mean),
        "r2": oracle.r2_score(targets, said.mean),
        "nll": -stats.norm.logpdf(targets, said.mean, said.deviation).sum(1).mean(),
        "coverage": (np.abs(targets - said.mean) < 1.959964 * said.deviation).mean(),
        "crps": np.mean([_crps(*each) for each in zip(targets.ravel(), said.mean.ravel(), said.deviation.ravel(), strict=True)]),
        "pit_gap": np.mean(
            [
                stats.kstest(stats.norm.cdf(y, m, d), "uniform").statistic
                for y, m, d in zip(targets.T, said.mean.T, said.deviation.T, strict=True)
            ]
        ),
    }
    assert wanted.keys() == values.METRICS.keys()
    for name, value in wanted.items():
        found = values.METRICS[name](said, targets)
        assert found.value == pytest.approx(value, rel=1e-6), name
        assert found.low is not None and found.high is not None and found.low <= found.value <= found.high


def _crps(truth: float, mean: float, deviation: float) -> float:
    """Its definition: the squared distance of the distribution function from the step at the truth."""
    ends = mean - 9 * deviation - abs(truth - mean), mean + 9 * deviation + abs(truth - mean)
    below = integrate.quad(lambda y: stats.norm.cdf(y, mean, deviation) ** 2, ends[0], truth)[0]
    return below + integrate.quad(lambda y: stats.norm.sf(y, mean, deviation) ** 2, truth, ends[1])[0]


@pytest.mark.parametrize(
    ("noise", "oracle_of"), [(GAUSSIAN, stats.norm()), *((Student(free), stats.t(free)) for free in (2.5, 4.0, 30.0))]
)
def test_a_noise_is_the_distribution_that_it_is_called(noise: Noise, oracle_of: Any) -> None:
    z = np.array([-7.0, -1.0, 0.0, 0.3, 2.0, 40.0])
    assert noise.log_density(z) == pytest.approx(oracle_of.logpdf(z), rel=1e-10)
    assert noise.cdf(z) == pytest.approx(oracle_of.cdf(z), rel=1e-10)
    assert noise.deviation == pytest.approx(oracle_of.std()) and noise.reach == pytest.approx(oracle_of.ppf(0.975))
    for truth in z:
        below = integrate.quad(lambda y: oracle_of.cdf(y) ** 2, -np.inf, truth)[0]
        above = integrate.quad(lambda y: oracle_of.sf(y) ** 2, truth, np.inf)[0]
        assert noise.crps(np.array([truth]))[0] == pytest.approx(below + above, abs=1e-6)


def test_numbers_under_student_are_measured_by_its_density() -> None:
    draw = np.random.default_rng(0)
    deviation, noise = draw.uniform(0.5, 2, (4000, 2)), Student(4.0)
    said = Said(draw.normal(size=(4000, 2)), deviation, noise)
    scale = deviation / np.sqrt(2)
    targets = said.mean + scale * draw.standard_t(4, (4000, 2))
    wanted = -stats.t.logpdf(targets, 4, said.mean, scale).sum(1).mean()
    assert values.nll(said, targets).value == pytest.approx(wanted)
    found = values.coverage(said, targets)
    assert found.low is not None and found.high is not None and found.low < 0.95 < found.high
    assert values.crps(said, targets).value == pytest.approx((scale * noise.crps((targets - said.mean) / scale)).mean())
    assert values.nll(said, targets).value < values.nll(Said(said.mean, deviation), targets).value


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rmse", "mae", "r2", "crps", "coverage", "pit_gap"])
def test_intervals_of_numbers_hold_the_truth_about_as_often_as_they_say(name: str) -> None:
    def sample(n: int, seed: int) -> tuple[Said, np.ndarray]:
        draw = np.random.default_rng(seed)
        targets = draw.normal(size=(n, 1))
        return Said(0.7 * targets + 0.5 * draw.normal(size=(n, 1)), np.full((n, 1), 0.6)), targets

    truth = values.METRICS[name](*sample(200_000, 1)).value
    held = 0
    for seed in range(100):
        found = values.METRICS[name](*sample(120, 10 + seed))
        assert found.low is not None and found.high is not None
        held += found.low <= truth <= found.high
    assert held >= 87  # 95 are promised; 87 of 100 or fewer has a chance of a thousandth


def test_nothing_to_measure_is_a_lesson() -> None:
    with pytest.raises(DataError, match="no labelled examples"):
        values.rmse(Said(np.empty((0, 1)), np.empty((0, 1))), np.empty((0, 1)))
    with pytest.raises(DataError, match="no labelled examples"):
        labels.mAP(np.empty((0, 2)), np.empty((0, 2)))


@pytest.mark.slow
def test_an_interval_holds_its_figure_where_a_label_is_rare() -> None:
    """Samples that hold the only example of a label twice raise its precision: all of theirs can lie above the figure."""
    draw, beside = np.random.default_rng(0), 0
    targets = np.eye(8)
    for _ in range(20):
        found = labels.decided(np.full(8, 0.5))["mAP"](draw.uniform(size=(8, 8)), targets)
        assert found.low is None or found.low <= found.value <= found.high
        beside += found.low == found.value
    assert beside, "none of these figures lay at the end of its interval: the test shows nothing"
