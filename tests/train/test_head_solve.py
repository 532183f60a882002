"""The solved head against scikit-learn, against a slow twin of the evidence, and on hard cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from headstart import curvature
from headstart.curvature import log_evidence, softmax, softmax_curvature
from headstart.train.head_solve import SolvedHead, solve_softmax


def problem(n: int, features: int, classes: int, seed: int = 0, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(n, features)) * draw.uniform(0.2, 3.0, features) + draw.normal(size=features)
    logits = scale * rows @ draw.normal(size=(features, classes)) / np.sqrt(features)
    return rows, (logits + draw.gumbel(size=logits.shape)).argmax(1)


def probabilities(head: SolvedHead, rows: np.ndarray) -> np.ndarray:
    return softmax(rows @ head.weight.T + head.bias)


@pytest.mark.parametrize(("n", "features", "classes"), [(200, 10, 2), (150, 6, 4), (30, 80, 3)])
def test_the_mode_agrees_with_scikit_learn(n: int, features: int, classes: int) -> None:
    rows, targets = problem(n, features, classes)
    alpha = 3.0
    head = solve_softmax(rows, targets, classes, precision=alpha)
    standard = (rows - rows.mean(0)) / rows.std(0).mean()
    # scikit-learn penalises 1/(2C) |w|^2; with two classes it keeps one weight vector, of which ours are the halves +-w/2
    strength = 2.0 if classes == 2 else 1.0
    oracle = LogisticRegression(C=strength / alpha, tol=1e-10, max_iter=20000).fit(standard, targets)
    assert np.abs(probabilities(head, rows) - oracle.predict_proba(standard)).max() < 2e-5


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "inner", "columns"), [(3, 4, 5), (1, 4, 1), (3, 1, 2), (0, 4, 2), (2, 0, 3)])
def test_a_product_is_that_of_the_matrices_however_they_lie(kind: type, rows: int, inner: int, columns: int) -> None:
    draw = np.random.default_rng(0)
    left, right = draw.normal(size=(rows, inner)).astype(kind), draw.normal(size=(inner, columns)).astype(kind)
    for one in (left, np.asfortranarray(left), left[:, ::-1]):
        for other in (right, np.asfortranarray(right), right[:, ::-1]):
            found = curvature.product(one, other)
            assert found.dtype == kind
            np.testing.assert_allclose(found, one @ other, rtol=1e-5, atol=1e-6)


def slow_log_evidence(rows: np.ndarray, targets: np.ndarray, head: SolvedHead, alpha: float) -> float:
    """Laplace's evidence written out: the full Hessian of all classes, restricted to weights that sum to zero over classes."""
    standard = (rows - rows.mean(0)) / rows.std(0).mean()
    weight = head.weight * rows.std(0).mean()
    probs = probabilities(head, rows)
    classes, features = weight.shape
    hessian = np.zeros((classes * features, classes * features))
    for x, p in zip(standard, probs, strict=True):
        hessian += np.kron(np.diag(p) - np.outer(p, p), np.outer(x, x))
    basis = np.linalg.svd(np.ones((1, classes)))[2][1:]  # orthonormal, orthogonal to (1, ..., 1)
    project = np.kron(basis, np.eye(features))
    inner = project @ hessian @ project.T
    log_likelihood = np.log(probs[np.arange(len(targets)), targets]).sum()
    determinant = np.linalg.slogdet(np.eye(len(inner)) + inner / alpha)[1]
    return float(log_likelihood - 0.5 * alpha * (weight**2).sum() - 0.5 * determinant)


def test_the_evidence_of_two_classes_is_exact() -> None:
    rows, targets = problem(120, 7, 2)
    head = solve_softmax(rows, targets, 2, precision=2.5)
    assert head.log_evidence == pytest.approx(slow_log_evidence(rows, targets, head, 2.5), abs=2e-3)


def test_the_evidence_of_several_classes_is_close_to_the_full_one() -> None:
    rows, targets = problem(200, 6, 4)
    head = solve_softmax(rows, targets, 4, precision=5.0)
    full = slow_log_evidence(rows, targets, head, 5.0)
    assert abs(head.log_evidence - full) < 0.01 * abs(full)


def test_the_precision_found_maximises_the_evidence() -> None:
    rows, targets = problem(150, 12, 3, scale=2.0)
    best = solve_softmax(rows, targets, 3)
    for factor in (0.3, 0.7, 1.4, 3.0):
        other = solve_softmax(rows, targets, 3, precision=best.typical_precision * factor)
        assert other.log_evidence < best.log_evidence + 0.02


def test_noise_gets_a_stronger_prior_than_signal() -> None:
    rows, targets = problem(300, 10, 2, scale=3.0)
    shuffled = np.random.default_rng(1).permutation(targets)
    assert solve_softmax(rows, shuffled, 2).typical_precision > 5 * solve_softmax(rows, targets, 2).typical_precision


def test_separable_classes_stay_finite() -> None:
    rows = np.concatenate([np.full((20, 3), -1.0), np.full((20, 3), 1.0)]) + np.random.default_rng(0).normal(size=(40, 3)) * 0.01
    head = solve_softmax(rows, np.repeat([0, 1], 20), 2)
    assert np.isfinite(head.weight).all()
    assert (probabilities(head, rows).argmax(1) == np.repeat([0, 1], 20)).all()


def test_constant_features_and_absent_classes_are_survived() -> None:
    rows, targets = problem(60, 5, 2)
    rows = np.concatenate([rows, np.full((60, 2), 7.0)], 1)
    head = solve_softmax(rows, targets, 3)
    assert np.isfinite(head.weight).all()
    assert np.abs(head.weight[:, 5:]).max() < 1e-9
    assert probabilities(head, rows)[:, 2].max() < 0.2


@settings(max_examples=15)
@given(st.floats(0.01, 100.0), st.floats(-50.0, 50.0), st.integers(0, 1000))
def test_scaling_and_shifting_features_changes_no_probability(factor: float, shift: float, seed: int) -> None:
    rows, targets = problem(60, 4, 3, seed)
    plain = solve_softmax(rows, targets, 3, precision=1.0)
    moved = solve_softmax(rows * factor + shift, targets, 3, precision=1.0)
    assert np.abs(probabilities(plain, rows) - probabilities(moved, rows * factor + shift)).max() < 1e-4


def test_weights_count_like_repeated_examples() -> None:
    rows, targets = problem(40, 3, 2)
    copies = np.concatenate([np.arange(40), np.arange(10)])
    weights = np.bincount(copies).astype(float)
    # Repeating rows moves their mean and spread; these features are given so that both ways of counting share them.
    both = np.concatenate([rows, -rows]), np.concatenate([targets, 1 - targets])
    doubled = np.concatenate([both[0]] * 2), np.concatenate([both[1]] * 2)
    repeated = solve_softmax(*doubled, 2, precision=1.0)
    weighted = solve_softmax(*both, 2, precision=1.0, weights=np.full(80, 2.0))
    assert np.abs(probabilities(repeated, rows) - probabilities(weighted, rows)).max() < 1e-5
    uneven = solve_softmax(rows, targets, 2, precision=1e-3, weights=weights)
    plain = solve_softmax(rows, targets, 2, precision=1e-3)
    heavier = weights > 1
    gain = np.log(probabilities(uneven, rows)[np.arange(40), targets]) - np.log(
        probabilities(plain, rows)[np.arange(40), targets]
    )
    assert gain[heavier].sum() > 0


@pytest.mark.parametrize("classes", [2, 3])
def test_the_curvature_counts_a_weighted_row_like_repeated_ones(classes: int) -> None:
    rows, targets = problem(30, 4, classes)
    counts = np.random.default_rng(1).integers(1, 5, 30)
    probs = softmax(rows @ np.random.default_rng(2).normal(size=(4, classes)))
    values = np.ones(4)  # used beyond EXACT_CLASSES alone
    weighted = softmax_curvature(rows, probs, values, counts * 30 / counts.sum())
    many = np.repeat(np.arange(30), counts)
    repeated = softmax_curvature(rows[many], probs[many], values)
    ratio = 30 / counts.sum()
    assert weighted.log_determinant(2.0 * ratio) == pytest.approx(repeated.log_determinant(2.0), rel=1e-6)
    assert weighted.log_determinant(2.0) != pytest.approx(softmax_curvature(rows, probs, values).log_determinant(2.0), rel=1e-3)


def test_blocks_beyond_the_leading_directions_use_the_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, targets = problem(100, 20, 2)
    values, basis = np.linalg.eigh((rows - rows.mean(0)).T @ (rows - rows.mean(0)))
    rotated = (rows - rows.mean(0)) @ basis
    probs = softmax(np.random.default_rng(0).normal(size=(100, 2)))
    exact = softmax_curvature(rotated, probs, values)
    monkeypatch.setattr(curvature, "EXACT_DIRECTIONS", 15)
    short = softmax_curvature(rotated, probs, values)
    assert exact.diagonals.size == 0
    assert short.diagonals.shape == (1, 5)
    assert short.log_determinant(1.0) == pytest.approx(exact.log_determinant(1.0), rel=0.05)
    assert short.effective_parameters(1.0) == pytest.approx(exact.effective_parameters(1.0), rel=0.05)


def test_many_classes_use_kronecker_factors() -> None:
    draw = np.random.default_rng(0)
    probs = softmax(draw.normal(size=(500, 40)))
    rows = draw.normal(size=(500, 4))
    values, basis = np.linalg.eigh(rows.T @ rows)
    shared = softmax_curvature(rows @ basis, probs, values)
    mean = np.diag(probs.mean(0)) - probs.T @ probs / 500
    expected = np.linalg.slogdet(np.eye(160) + np.kron(mean, rows.T @ rows) / 2.0)[1]
    assert shared.log_determinant(2.0) == pytest.approx(expected, rel=1e-9)


def test_the_evidence_formula() -> None:
    found = softmax_curvature(np.array([[2.0], [0.0]]), np.full((2, 2), 0.5), np.array([4.0]))
    # one direction (1, -1)/sqrt(2): c_n = 1/2 - 0 = 1/2, so the curvature is 1/2 * 4 = 2
    assert log_evidence(-3.0, 0.5, found, 4.0) == pytest.approx(-3.0 - 0.5 * 4.0 * 0.5 - 0.5 * np.log(1 + 2.0 / 4.0))


@pytest.mark.slow
def test_a_thousand_classes_and_more_features_than_examples_take_seconds() -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(1000, 512)).astype(np.float32)
    targets = np.tile(np.arange(1000), 4)
    rows = centres[targets] + 0.8 * draw.normal(size=(4000, 512)).astype(np.float32)
    head = solve_softmax(rows, targets, 1000)
    fresh = centres + 0.8 * draw.normal(size=(1000, 512)).astype(np.float32)
    assert (probabilities(head, fresh).argmax(1) == np.arange(1000)).mean() > 0.95
    assert head.evaluations < 600
