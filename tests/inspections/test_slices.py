"""Neighbourhoods that fail: the statistic by its definition, chance kept to what was promised, nothing told twice."""

import numpy as np
import pytest
from scipy import stats

from headstart.inspections import _scan, slices
from headstart.inspections._plant import trace
from headstart.inspections._trace import Look, Trace


def of_features(features: np.ndarray, truth: np.ndarray, wrong: np.ndarray, valid: np.ndarray | None = None) -> Trace:
    """A trace of a model that is wrong about these, and right about all others."""
    classes = int(truth.max()) + 1
    said = 9.0 * np.eye(classes)[np.where(wrong, (truth + 1) % classes, truth)]
    valid = np.ones(len(truth), bool) if valid is None else valid
    return trace(said, truth, valid, before=Look(features.astype(np.float32), (), None))


def test_the_ratio_is_that_of_two_rates_to_one() -> None:
    """By binomial likelihoods, whose coefficients cancel."""

    def log(errors: int, count: int, rate: float) -> float:
        return float(stats.binom.logpmf(errors, count, rate) - stats.binom.logpmf(errors, count, 0.5) + count * np.log(0.5))

    for c, k, total, count in [(5, 10, 8, 60), (1, 10, 30, 60), (10, 10, 10, 40), (3, 6, 6, 12), (0, 8, 4, 30)]:
        expected = log(c, k, c / k) + log(total - c, count - k, (total - c) / (count - k)) - log(total, count, total / count)
        expected = expected if c / k > (total - c) / (count - k) else 0.0
        assert _scan.ratios(np.array([c]), np.array([k]), total, count)[0] == pytest.approx(expected, abs=1e-9)


def test_errors_of_neighbourhoods_are_counted_as_one_would_by_hand() -> None:
    draw = np.random.default_rng(0)
    order = np.array([draw.permutation(60)[:30] for _ in range(60)])
    own, wrong = _scan.Class(0, np.arange(60), order), draw.random(60) < 0.3
    counts = own.counts(np.stack([wrong, ~wrong]))[0]
    assert own.sizes[0] == _scan.SMALLEST and own.sizes[-1] <= 30 and len(own.sizes) > 3
    for centre in range(60):
        assert counts[centre].tolist() == [int(wrong[order[centre, :size]].sum()) for size in own.sizes]


@pytest.mark.slow
def test_by_chance_next_to_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of forty sets without a slice, at one in a hundred: two would come up once in twenty times."""
    monkeypatch.setattr(_scan, "DEALT", 199)
    found = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        made = of_features(draw.normal(size=(120, 6)), np.arange(120) % 2, draw.random(120) < 0.15)
        found += slices.inspect(made).verdict == "look"
    assert found <= 2


@pytest.mark.slow
def test_two_kinds_are_two_slices_and_neither_is_told_twice() -> None:
    draw = np.random.default_rng(0)
    truth = np.arange(400) % 2
    features = draw.normal(size=(400, 8))
    first, second = np.flatnonzero(truth == 0)[:30], np.flatnonzero(truth == 1)[:25]
    features[first, 2] += 8
    features[second, 5] += 8
    wrong = np.zeros(400, bool)
    wrong[first[:24]] = wrong[second[:18]] = True
    made = of_features(features, truth, wrong)
    found = slices.inspect(made)
    assert {item["class"] for item in found.items} == {"class 0", "class 1"}
    members = [set(item["members"].split(", ")) for item in found.items]
    for number, one in enumerate(members):
        for other in members[:number]:
            assert len(one & other) < 0.5 * len(one)
    for item, kind in zip(found.items[:2], (first, second), strict=True):
        named = {f"{place}.jpg" for place in kind}
        assert len(named & set(item["members"].split(", "))) >= 0.8 * item["examples"]
        assert item["wrong"] + item["wrong among these"] == (24 if item["class"] == "class 0" else 18)
        assert item["chance"] <= slices.CHANCE and item["most often said"] != item["class"]


@pytest.mark.parametrize(("trained", "rare"), [(2, True), (60, False)])
def test_a_kind_that_is_rare_among_the_training_examples_is_said_to_be(trained: int, rare: bool) -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(400, 8))
    valid = np.arange(400) < 200
    kind = np.arange(40)
    features[kind, 2] += 8
    features[200 : 200 + trained, 2] += 8
    wrong = np.zeros(400, bool)
    wrong[kind[:30]] = True
    truth = np.zeros(400, np.int64)
    said = 9.0 * np.eye(2)[wrong.astype(int)]
    found = slices.inspect(trace(said, truth, valid, before=Look(features.astype(np.float32), (), None)))
    (item, *_) = found.items
    assert item["of"] == 200 and trained <= item["training examples like it"] <= trained + 20
    assert ("it is rare" in found.headline) is rare


def test_few_errors_are_not_searched_and_small_classes_neither() -> None:
    draw = np.random.default_rng(0)
    features, truth = draw.normal(size=(40, 4)), np.arange(40) % 2
    wrong = np.zeros(40, bool)
    wrong[: slices.FEWEST - 1] = True
    assert "too few to lie together" in slices.inspect(of_features(features, truth, wrong)).headline
    many = slices.inspect(of_features(features, np.arange(40) % 20, np.ones(40, bool)))  # two of each class
    assert many.verdict == "good" and "where chance" in many.headline


def test_where_all_are_wrong_no_kind_fails_more_than_others() -> None:
    draw = np.random.default_rng(0)
    made = of_features(draw.normal(size=(60, 4)), np.arange(60) % 2, np.ones(60, bool))
    assert slices.inspect(made).verdict == "good"
