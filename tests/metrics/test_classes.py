import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from headstart.errors import BadSetting, DataError, UnknownName
from headstart.metrics import Measured, calibration, chosen, from_function
from headstart.metrics import classes as metrics
from headstart.metrics.classes import FASTAI, METRICS
from headstart.metrics.measured import Z


def drawn(n: int, classes: int, seed: int = 0, skill: float = 1.5, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels of a middling, overconfident classifier."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, n)
    logits = generator.normal(size=(n, classes)) * spread
    logits[np.arange(n), targets] += skill
    probs = np.exp(logits)
    return probs / probs.sum(1, keepdims=True), targets


def by_oracle(name: str, probs: np.ndarray, targets: np.ndarray) -> float:
    classes, said = probs.shape[1], probs.argmax(1)
    labels = list(range(classes))
    score = probs if classes > 2 else probs[:, 1]
    match name:
        case "error_rate":
            return oracle.zero_one_loss(targets, said)
        case "accuracy":
            return oracle.accuracy_score(targets, said)
        case "nll":
            return oracle.log_loss(targets, probs, labels=labels)
        case "brier":
            return oracle.brier_score_loss(targets, score, labels=labels)
        case "f1":
            return oracle.f1_score(targets, said, average="macro")
        case "balanced_accuracy":
            return oracle.balanced_accuracy_score(targets, said)
        case "top_5_error":
            return 0.0 if classes <= 5 else 1 - oracle.top_k_accuracy_score(targets, probs, k=5, labels=labels)
        case "auroc":
            return oracle.roc_auc_score(targets, score, multi_class="ovr", labels=labels)
    raise AssertionError(name)


@pytest.mark.parametrize("name", sorted(set(METRICS) - set(calibration.__dict__)))
@pytest.mark.parametrize(("n", "classes"), [(41, 2), (200, 3), (300, 9)])
def test_values_are_those_of_scikit_learn(name: str, n: int, classes: int) -> None:
    probs, targets = drawn(n, classes)
    measured = METRICS[name](probs, targets)
    assert measured.value == pytest.approx(by_oracle(name, probs, targets), abs=1e-12) and measured.n == n


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("n", "classes"), [(50, 2), (400, 7)])
def test_calibration_error_is_that_of_torchmetrics(n: int, classes: int) -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    probs, targets = drawn(n, classes)
    theirs = multiclass_calibration_error(torch.tensor(probs), torch.tensor(targets), classes, n_bins=15)
    assert metrics.ece(probs, targets).value == pytest.approx(float(theirs), abs=1e-6)


def test_calibration_error_by_hand() -> None:
    """Two bins are used: [.6, .667) holds .6 right and .65 wrong, the last holds 1.0 (its upper edge) wrong."""
    probs = np.array([[0.6, 0.4], [0.35, 0.65], [1.0, 0.0]])
    assert metrics.ece(probs, np.array([0, 0, 1])).value == pytest.approx((abs(0.6 + 0.65 - 1) + 1.0) / 3)


def test_classes_without_examples_are_left_out_as_scikit_learn_does() -> None:
    probs, targets = drawn(80, 6)
    targets = np.where(targets == 4, 3, targets)
    probs[:, 5] = 0
    targets = np.where(targets == 5, 0, targets)
    probs /= probs.sum(1, keepdims=True)
    assert metrics.f1(probs, targets).value == pytest.approx(oracle.f1_score(targets, probs.argmax(1), average="macro"))
    recalls = [np.mean(probs[targets == k].argmax(1) == k) for k in range(4)]
    assert metrics.balanced_accuracy(probs, targets).value == pytest.approx(np.mean(recalls))
    areas = [oracle.roc_auc_score(targets == k, probs[:, k]) for k in range(4)]
    assert metrics.auroc(probs, targets).value == pytest.approx(np.mean(areas))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=20))
def test_auroc_is_the_share_of_pairs_in_the_right_order_ties_as_half(examples: list[tuple[int, bool]]) -> None:
    score, truth = (np.array(column) for column in zip(*examples, strict=True))
    probs = np.stack([1 - score / 3, score / 3], 1)
    if truth.all() or not truth.any():
        with pytest.raises(DataError, match="all of one class"):
            metrics.auroc(probs, truth.astype(int))
        return
    pairs = [np.sign(a - b) / 2 + 0.5 for a in score[truth] for b in score[~truth]]
    assert metrics.auroc(probs, truth.astype(int)).value == pytest.approx(np.mean(pairs))


def test_auroc_spread_of_two_classes_is_delongs() -> None:
    """The variance of DeLong (1988) written from its placements, with n in place of n - 1."""
    probs, targets = drawn(60, 2)
    up, down = probs[targets == 1, 1], probs[targets == 0, 1]
    wins = (up[:, None] > down[None]).astype(float)
    area, deviation = wins.mean(), math.sqrt(wins.mean(1).var() / len(up) + wins.mean(0).var() / len(down))
    middle, half = math.log(area / (1 - area)), 1.959963984540054 * deviation / (area * (1 - area))
    measured = metrics.auroc(probs, targets)
    expected = [1 / (1 + math.exp(-bound)) for bound in (middle - half, middle + half)]
    assert [measured.low, measured.high] == pytest.approx(expected)


@given(st.integers(1, 400), st.data())
def test_wilson_bounds_are_where_the_score_test_turns(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    probs = np.tile([0.9, 0.1], (n, 1))
    targets = np.array([0] * right + [1] * (n - right))
    measured = metrics.accuracy(probs, targets)
    assert measured.low is not None and measured.high is not None
    assert 0 <= measured.low <= measured.value <= measured.high <= 1
    for bound in (measured.low, measured.high):
        if 1e-9 < bound < 1 - 1e-9:
            assert abs(measured.value - bound) / math.sqrt(bound * (1 - bound) / n) == pytest.approx(1.959963984540054)
    error = metrics.error_rate(probs, targets)
    assert error.low == pytest.approx(1 - measured.high) and error.high == pytest.approx(1 - measured.low)


def test_five_ties_are_settled_by_place_as_the_label_is() -> None:
    probs = np.full((7, 7), 1 / 7)
    assert metrics.top_5_error(probs, np.arange(7)).value == pytest.approx(2 / 7)
    assert metrics.accuracy(probs, np.arange(7)).value == pytest.approx(1 / 7)


@pytest.mark.parametrize("name", ["accuracy", "nll", "brier", "balanced_accuracy", "auroc", "top_5_error"])
@pytest.mark.parametrize("classes", [2, 8])
def test_intervals_hold_the_truth_as_often_as_they_say(name: str, classes: int) -> None:
    if name == "top_5_error" and classes == 2:
        return
    check_coverage(METRICS[name], classes, 250)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["f1", "ece"])
@pytest.mark.parametrize("classes", [2, 8])
def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say(name: str, classes: int) -> None:
    check_coverage(METRICS[name], classes, 200)


def check_coverage(metric: Callable[..., Measured], classes: int, n_sets: int) -> None:
    truth = metric(*drawn(19_000, classes, seed=1)).value
    held = 0
    for seed in range(n_sets):
        measured = metric(*drawn(150, classes, seed=100 + seed))
        assert measured.low is not None and measured.high is not None
        held += measured.low <= truth <= measured.high
    assert 0.9 <= held / n_sets <= 0.99, held / n_sets


@pytest.mark.parametrize("name", sorted(METRICS))
def test_perfect_answers_do_not_pretend_to_be_certain(name: str) -> None:
    targets = np.arange(40) % 2
    probs = np.where(np.eye(2)[targets] > 0, 0.999, 0.001)
    measured = METRICS[name](probs, targets)
    assert measured.low is not None and measured.high is not None and measured.low <= measured.value <= measured.high
    if name not in ("nll", "brier", "ece", "ece_equal_mass", "ece_classwise", "ece_debiased"):
        assert measured.high - measured.low > 0.05


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_same_examples_give_the_same_numbers_in_any_order(name: str) -> None:
    probs, targets = drawn(70, 4)
    order = np.random.default_rng(0).permutation(70)
    first, second = METRICS[name](probs, targets), METRICS[name](probs[order], targets[order])
    assert first == METRICS[name](probs, targets)
    assert first.value == pytest.approx(second.value, abs=1e-12)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_one_example_none_and_a_probability_of_zero(name: str) -> None:
    probs = np.array([[1.0, 0.0]])
    with pytest.raises(DataError, match="no labelled examples"):
        METRICS[name](probs[:0], np.zeros(0, int))
    if name == "auroc":
        return
    measured = METRICS[name](probs, np.array([1]))
    assert math.isfinite(measured.value) and json.dumps(measured.json())
    assert set(measured.json()) == {"value", "low", "high", "n"}


def test_names_are_answered_with_the_nearest_and_fastais_with_ours() -> None:
    with pytest.raises(UnknownName, match='"accuracy"'):
        chosen(["acuracy"], METRICS, FASTAI)
    with pytest.raises(UnknownName, match='here it is called "f1"'):
        chosen(["F1Score"], METRICS, FASTAI)


def test_a_function_of_the_user_is_a_metric() -> None:
    def confidence(probs: np.ndarray, targets: np.ndarray) -> float:
        return np.float32(probs.max(1).mean())  # pyright: ignore[reportReturnType]

    def with_interval(probs: np.ndarray, targets: np.ndarray) -> Measured:
        return Measured(1.0, 0.5, 1.5, len(targets))

    probs, targets = drawn(30, 3)
    metric = from_function(confidence)
    assert metric.__name__ == "confidence"  # pyright: ignore[reportFunctionMemberAccess]
    assert metric(probs, targets) == Measured(float(np.float32(probs.max(1).mean())), None, None, 30)
    assert from_function(with_interval)(probs, targets).low == 0.5


def test_a_function_that_cannot_be_a_metric_is_told() -> None:
    def valid_loss(probs: np.ndarray, targets: np.ndarray) -> float:
        return 0.0

    def vector(probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return probs

    with pytest.raises(BadSetting, match="column of the table"):
        from_function(valid_loss)
    with pytest.raises(BadSetting, match="needs a name"):
        from_function(lambda probs, targets: 0.0)
    with pytest.raises(BadSetting, match=r"vector failed on probs \(30, 3\)"):
        from_function(vector)(*drawn(30, 3))


@pytest.mark.parametrize("seed", range(3))
def test_recall_and_precision_of_each_class_by_counting(seed: int) -> None:
    draw = np.random.default_rng(seed)
    probs, targets = draw.dirichlet(np.ones(4), 30), draw.integers(0, 3, 30)  # no example of the last class
    probs[:, 1] = 0.0  # and no answer that names the second
    found = metrics.recall_and_precision(probs, targets)
    assert len(found) == 4
    for place, (recall, precision) in enumerate(found):
        pairs = [(place == truth, place == int(row.argmax())) for row, truth in zip(probs, targets, strict=True)]
        right = sum(is_it and said for is_it, said in pairs)
        for one, n in ((recall, sum(is_it for is_it, _ in pairs)), (precision, sum(said for _, said in pairs))):
            assert one.n == n
            if not n:
                assert np.isnan(one.value) and one.low is None and one.high is None
                continue
            assert one.value == pytest.approx(right / n)
            # Wilson's bounds are the shares at which a score test is just not rejected
            for bound in (one.low, one.high):
                assert bound is not None
                if 0 < bound < 1 and bound != one.value:
                    assert abs(right / n - bound) / (bound * (1 - bound) / n) ** 0.5 == pytest.approx(Z, rel=1e-6)
