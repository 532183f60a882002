"""Calibration errors and selective answering against slow twins written from their papers; scores of the outside by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from headstart.errors import DataError
from headstart.metrics import calibration, outside
from headstart.metrics.classes import METRICS
from headstart.tasks.single_label import SingleLabel

NAMES = ("ece", "ece_equal_mass", "ece_classwise", "ece_debiased", "overconfidence", "aurc")


def calibrated(n: int, classes: int = 3, sharper: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, of which the model tells a sharper (or softer) version."""
    draw = np.random.default_rng(seed)
    logits = 2 * draw.normal(size=(n, classes))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = (draw.random((n, 1)) > true.cumsum(1)).sum(1).clip(max=classes - 1)
    told = np.exp(sharper * logits)
    return told / told.sum(1, keepdims=True), targets


def binned(values: np.ndarray, edges: np.ndarray, right_closed: bool) -> list[np.ndarray]:
    found = []
    for low, high in itertools.pairwise(edges):
        above = values > low if right_closed else values >= low
        below = values <= high if right_closed else values < high
        found.append(above & below)
    return found


def test_every_error_is_a_metric_of_the_task_by_its_name() -> None:
    probs, targets = calibrated(60)
    assert set(NAMES) <= set(METRICS)
    for name in NAMES:
        assert METRICS[name](probs, targets) == getattr(calibration, name)(probs, targets)
    assert set(SingleLabel(("a", "b", "c")).metrics(NAMES)) == set(NAMES)
    with pytest.raises(DataError, match="no labelled examples"):
        METRICS["aurc"](probs[:0], targets[:0])


def test_equal_mass_bins_hold_equally_many() -> None:
    probs, targets = calibrated(150)
    confidence, right = probs.max(1), probs.argmax(1) == targets
    order = np.argsort(confidence)
    twin = sum(abs((confidence[part] - right[part]).sum()) for part in np.split(order, 15)) / 150
    assert calibration.ece_equal_mass(probs, targets).value == pytest.approx(twin, abs=1e-12)


def test_classwise_error_is_the_mean_over_classes() -> None:
    probs, targets = calibrated(90, 4)
    edges = np.linspace(0, 1, 16)
    twin = np.mean(
        [
            sum(abs((probs[part, k] - (targets[part] == k)).sum()) for part in binned(probs[:, k], edges, False)) / 90
            for k in range(4)
        ]
    )
    assert calibration.ece_classwise(probs, targets).value == pytest.approx(twin, abs=1e-12)


def test_classwise_error_of_very_many_is_the_same_without_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, targets = calibrated(90, 4)
    whole = calibration.ece_classwise(probs, targets)
    monkeypatch.setattr(calibration, "LARGEST", 10)
    plain = calibration.ece_classwise(probs, targets)
    assert plain.value == pytest.approx(whole.value, abs=1e-12) and plain.low is None and whole.low is not None


@pytest.mark.slow
def test_debiased_error_takes_chance_away() -> None:
    """Where the model tells the truth, the plain error is what chance makes; the debiased one of many draws is near nothing."""
    plain, less = [], []
    for seed in range(20):
        probs, targets = calibrated(400, seed=seed)
        plain.append(calibration.ece_equal_mass(probs, targets).value)
        less.append(calibration.ece_debiased(probs, targets).value)
    assert np.median(less) < 0.6 * np.median(plain)
    sharp, targets = calibrated(4000, sharper=2.5)
    assert calibration.ece_debiased(sharp, targets).value == pytest.approx(
        np.sqrt(
            np.mean(
                [
                    _squared_gap(part)
                    for part in np.array_split(np.argsort(sharp.max(1)), 15)
                    for part in [_of(sharp, targets, part)]
                ]
            )
        ),
        rel=0.02,
    )


def _of(probs: np.ndarray, targets: np.ndarray, part: np.ndarray) -> tuple[float, float, int]:
    return float(probs[part].max(1).mean()), float((probs[part].argmax(1) == targets[part]).mean()), len(part)


def _squared_gap(bin: tuple[float, float, int]) -> float:
    confidence, share, count = bin
    return (confidence - share) ** 2 - share * (1 - share) / (count - 1)


@pytest.mark.parametrize(("sharper", "sign"), [(2.5, 1), (0.4, -1)])
def test_overconfidence_tells_the_direction(sharper: float, sign: int) -> None:
    found = calibration.overconfidence(*calibrated(600, sharper=sharper))
    assert found.low is not None and found.high is not None and sign * found.value > 0
    assert sign * (found.low if sign > 0 else found.high) > 0
    probs, targets = calibrated(600, sharper=sharper)
    assert found.value == pytest.approx(probs.max(1).mean() - oracle.accuracy_score(targets, probs.argmax(1)), abs=1e-12)


def test_area_under_risk_and_coverage_by_hand() -> None:
    """Surest first: right, wrong, right. Risks 0, 1/2, 1/3."""
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    assert calibration.aurc(probs, np.array([0, 1, 0])).value == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)


@given(st.lists(st.tuples(st.integers(6, 9), st.booleans()), min_size=1, max_size=6))
def test_ties_are_answered_in_any_order(examples: list[tuple[int, bool]]) -> None:
    """The mean over all orders that go from sure to unsure."""
    from itertools import permutations

    confidence = np.array([tenth / 10 for tenth, _ in examples])
    targets = np.array([0 if right else 1 for _, right in examples])
    probs = np.stack([confidence, 1 - confidence], 1)
    areas = []
    for order in permutations(range(len(examples))):
        sure = confidence[list(order)]
        if (np.diff(sure) > 0).any():
            continue
        wrong = np.cumsum(targets[list(order)] != 0)
        areas.append((wrong / np.arange(1, len(wrong) + 1)).mean())
    assert calibration.aurc(probs, targets).value == pytest.approx(np.mean(areas), abs=1e-12)


def test_who_tells_nothing_has_the_error_rate_and_the_order_of_examples_counts_for_nothing() -> None:
    probs, targets = calibrated(200)
    flat = np.where(probs == probs.max(1, keepdims=True), 0.5, 0.25)
    wrong = float((flat.argmax(1) != targets).mean())
    assert calibration.aurc(flat, targets).value == pytest.approx(wrong, abs=1e-12)
    shuffled = np.random.default_rng(0).permutation(200)
    for name in NAMES:
        one, other = (METRICS[name](probs[order], targets[order]).value for order in (np.arange(200), shuffled))
        assert one == pytest.approx(other, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("probs", [np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.5, 0.5]] * 4)])
def test_edges_have_a_number(name: str, probs: np.ndarray) -> None:
    found = METRICS[name](probs, np.zeros(len(probs), np.int64))
    assert np.isfinite(found.value) and (found.low is None or found.low <= found.value <= (found.high or 1.0) + 1e-12)


def test_outside_is_told_from_inside() -> None:
    draw = np.random.default_rng(0)
    inside, beyond = draw.normal(size=300), draw.normal(size=200) + 1.5
    truth = np.repeat([0, 1], [300, 200])
    scores = np.concatenate([inside, beyond])
    assert outside.auroc(inside, beyond).value == pytest.approx(oracle.roc_auc_score(truth, scores))
    false, true, _ = oracle.roc_curve(truth, scores, drop_intermediate=False)
    found = outside.fpr95(inside, beyond)
    assert found.value == pytest.approx(false[np.argmax(true >= 0.95)]) and found.n == 300
    assert outside.auroc(np.zeros(3), np.zeros(3)).value == 0.5 and outside.fpr95(np.zeros(3), np.zeros(3)).value == 1.0
    with pytest.raises(DataError, match="from outside"):
        outside.auroc(inside, beyond[:0])
