"""The solvers of labels and numbers against scikit-learn and slow twins of their evidence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from sklearn.linear_model import BayesianRidge, LogisticRegression

from headstart import plugins
from headstart.errors import BadSetting
from headstart.train.head_solve import Linear, Rotated, rotated
from headstart.train.solvers import bernoulli, gaussian, student
from twins import left_out


def problem(n: int, features: int, seed: int = 0, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(n, features)) + draw.normal(size=features)
    return rows, rows @ draw.normal(size=features) / np.sqrt(features) + 3.0 + noise * draw.normal(size=n)


def came_with(outputs: int, features: int) -> Linear:
    draw = np.random.default_rng(7)
    return Linear(draw.normal(size=(outputs, features)), draw.normal(size=outputs))


@pytest.mark.parametrize(("n", "features"), [(60, 5), (200, 30), (25, 40)])
def test_at_the_same_precisions_the_mode_is_that_of_bayesian_ridge(n: int, features: int) -> None:
    rows, target = problem(n, features)
    oracle = BayesianRidge(tol=1e-12, max_iter=10_000).fit(rows, target)
    turned = rotated(rows)
    # ours is alpha / beta in units of the common spread of the features
    rho = oracle.lambda_ / oracle.alpha_ * turned.scale**-2
    found = gaussian.OneTarget(turned, target, rho)
    weight = turned.basis @ found.theta / turned.scale
    assert np.abs(weight - oracle.coef_).max() < 1e-6
    assert found.centre - turned.mean @ weight == pytest.approx(oracle.intercept_, abs=1e-6)


def test_of_more_features_than_examples_nothing_is_learned_by_heart_in_single_precision() -> None:
    draw = np.random.default_rng(3)
    n, features = 820, 1300  # more than a million numbers, so the eigenbasis is one of single precision
    spectrum = 10.0 ** -np.linspace(0, 6, n)
    rows = (np.linalg.qr(draw.normal(size=(n, n)))[0] * spectrum) @ np.linalg.qr(draw.normal(size=(features, n)))[0].T
    target = rows @ draw.normal(size=features) + 0.3 * draw.normal(size=n) / np.sqrt(n)
    solved = gaussian.solve(rows.astype(np.float32), target[:, None], came_with(2, features))
    centred = (rows - rows.mean(0)) / rotated(rows.astype(np.float32)).scale
    values, vectors = np.linalg.eigh(centred @ centred.T)
    keep = values > 1e-9 * values[-1]
    basis = centred.T @ (vectors[:, keep] / np.sqrt(values[keep]))
    exact = gaussian.OneTarget(Rotated(centred @ basis, values[keep], basis, rows.mean(0), 1.0), target)
    assert solved.log_evidence == pytest.approx(exact.log_evidence, abs=1.0) and np.isfinite(exact.log_evidence)
    assert solved.precision[0] == pytest.approx(exact.precision, rel=0.05)


def slow_evidence(rows: np.ndarray, target: np.ndarray, alpha: float, beta: float) -> float:
    """log of the integral over weights and bias: the density of the numbers with their mean projected out."""
    n = len(target)
    project = np.linalg.svd(np.ones((1, n)))[2][1:]
    spread = project @ (rows @ rows.T / alpha + np.eye(n) / beta) @ project.T
    left = project @ target
    determinant = np.linalg.slogdet(2 * np.pi * spread)[1]
    return float(-0.5 * determinant - 0.5 * left @ np.linalg.solve(spread, left) - 0.5 * np.log(n))


@pytest.mark.parametrize("seed", range(3))
def test_prior_and_noise_maximise_the_evidence(seed: int) -> None:
    rows, target = problem(40, 8, seed)
    turned = rotated(rows)
    found = gaussian.OneTarget(turned, target)
    standard = (rows - rows.mean(0)) / turned.scale
    assert found.log_evidence == pytest.approx(slow_evidence(standard, target, found.precision, 1 / found.variance), abs=1e-6)
    best = optimize.minimize(
        lambda logs: -slow_evidence(standard, target, *np.exp(logs)), [0.0, 0.0], method="Nelder-Mead", options={"fatol": 1e-10}
    )
    assert found.log_evidence == pytest.approx(-best.fun, abs=1e-4)


def test_the_head_gives_means_then_noises() -> None:
    rows, first = problem(300, 6, noise=0.5)
    _, second = problem(300, 6, seed=3, noise=0.1)
    targets = np.column_stack([first, np.random.default_rng(1).permutation(second)])
    head = gaussian.solve(rows, targets, came_with(4, 6))
    assert head.weight.shape == (4, 6) and (head.weight[2:] == 0).all()
    assert np.exp(head.bias[2:]) == pytest.approx([0.25, np.var(second)], rel=0.25)
    assert np.abs(head.weight[1]).max() < 0.1 * np.abs(head.weight[0]).max()  # nothing to learn from shuffled numbers


@settings(max_examples=20)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 1000))
def test_units_change_nothing_but_units(scale: float, shift: float, seed: int) -> None:
    rows, target = problem(50, 4, seed)
    plain = gaussian.solve(rows, target[:, None], came_with(2, 4))
    other = gaussian.solve(rows, scale * target[:, None] + shift, came_with(2, 4))
    assert other.weight[0] == pytest.approx(scale * plain.weight[0], rel=1e-3, abs=1e-4 * scale)
    assert other.bias[1] - 2 * np.log(scale) == pytest.approx(plain.bias[1], abs=1e-3)


def test_examples_of_which_a_number_is_not_known_are_left_out_for_it_alone() -> None:
    rows, target = problem(80, 5)
    both = np.column_stack([target, target])
    both[50:, 1] = np.nan
    head = gaussian.solve(rows, both, came_with(4, 5))
    part = gaussian.solve(rows[:50], target[:50, None], came_with(2, 5))
    assert head.weight[1] == pytest.approx(part.weight[0]) and head.bias[3] == pytest.approx(part.bias[1])
    assert np.isfinite(head.weight).all() and np.isfinite(head.bias).all()
    both[:, 1] = np.nan
    kept = came_with(4, 5)
    unknown = gaussian.solve(rows, both, kept)
    assert (unknown.weight[[1, 3]] == kept.weight[[1, 3]]).all()


def test_a_number_without_error_stays_finite() -> None:
    rows, _ = problem(30, 60)
    head = gaussian.solve(rows, rows[:, :1], came_with(2, 60))
    assert np.isfinite(head.weight).all() and np.isfinite(head.bias).all()


def wild(n: int, features: int, seed: int = 0, share: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A problem some of whose numbers are far off, and all of them as they should be."""
    rows, target = problem(n, features, seed)
    draw = np.random.default_rng(seed + 100)
    off = draw.random(n) < share
    return rows, np.where(off, target + draw.choice([-1, 1], n) * draw.uniform(20, 60, n), target), target


def penalised(rows: np.ndarray, target: np.ndarray, alpha: float, deviation: float) -> tuple[np.ndarray, float]:
    """Weights and bias at the mode under Student's t, by a general optimiser from nothing."""

    def loss(point: np.ndarray) -> float:
        density = stats.t.logpdf(target, 4, rows @ point[1:] + point[0], deviation)
        return float(0.5 * alpha * point[1:] @ point[1:] - density.sum())

    def slope(point: np.ndarray) -> np.ndarray:
        left = target - rows @ point[1:] - point[0]
        pull = -5 * left / (4 * deviation**2 + left**2)
        return np.concatenate([[pull.sum()], alpha * point[1:] + rows.T @ pull])

    start = np.concatenate([[np.median(target)], np.zeros(rows.shape[1])])
    found = optimize.minimize(loss, start, jac=slope, method="BFGS", options={"gtol": 1e-7, "maxiter": 5000})
    return found.x[1:], float(found.x[0])


@pytest.mark.parametrize(("n", "features", "seed", "rho"), [(60, 3, 0, None), (200, 6, 1, None), (30, 40, 2, 9.0)])
def test_under_student_the_mode_is_that_of_a_general_optimiser(n: int, features: int, seed: int, rho: float | None) -> None:
    rows, target, _ = wild(n, features, seed)
    turned = rotated(rows)
    found = student.OneTarget(turned, target, rho)
    standard = (rows - turned.mean) / turned.scale
    weight, bias = penalised(standard, target, found.precision, np.sqrt(found.variance))
    assert turned.basis @ found.theta == pytest.approx(weight, abs=1e-5)
    assert found.centre == pytest.approx(bias, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_under_student_prior_and_scale_maximise_the_evidence_of_the_weighted_problem(seed: int) -> None:
    rows, target, _ = wild(40, 8, seed)
    turned = rotated(rows)
    found = student.OneTarget(turned, target)
    roots = np.sqrt(found.weights())

    def evidence(logs: np.ndarray) -> float:
        alpha, beta = np.exp(logs)
        spread = turned.rows @ turned.rows.T / alpha + np.diag(1 / (beta * roots**2))
        inverse, ones = np.linalg.inv(spread), np.ones(len(target))
        project = inverse - np.outer(inverse @ ones, ones @ inverse) / (ones @ inverse @ ones)
        return float(-0.5 * (np.linalg.slogdet(spread)[1] + np.log(ones @ inverse @ ones) + target @ project @ target))

    best = optimize.minimize(lambda logs: -evidence(logs), [0.0, 0.0], method="Nelder-Mead", options={"fatol": 1e-10})
    assert evidence(np.log([found.precision, 1 / found.variance])) == pytest.approx(-best.fun, abs=1e-3)
    # tighter than that and the prior would have to be chosen more often; its logarithm is where it should be within a twentieth
    assert np.log([found.precision, 1 / found.variance]) == pytest.approx(best.x, abs=0.05)


@pytest.mark.parametrize(("n", "features", "rho"), [(60, 5, None), (25, 40, 2.0)])
def test_the_spread_is_that_of_examples_left_out(
    n: int, features: int, rho: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, target = problem(n, features)
    turned = rotated(rows)
    found = gaussian.OneTarget(turned, target, rho)
    off = left_out((rows - turned.mean) / turned.scale, target, found.rho)
    assert found.spread == pytest.approx((off**2).mean(), rel=1e-8)
    monkeypatch.setattr(gaussian, "AT_ONCE", 7)
    assert found.spread == pytest.approx((off**2).mean(), rel=1e-8)


@pytest.mark.parametrize(("n", "features", "rho"), [(60, 5, None), (30, 40, 9.0)])
def test_under_student_the_spread_is_the_likeliest_for_examples_left_out(n: int, features: int, rho: float | None) -> None:
    rows, target, _ = wild(n, features)
    turned = rotated(rows)
    found = student.OneTarget(turned, target, rho)
    off = left_out((rows - turned.mean) / turned.scale, target, found.rho, found.weights())
    best = optimize.minimize_scalar(lambda log: -stats.t.logpdf(off, 4, 0, np.exp(log)).sum(), bounds=(-6, 6), method="bounded")
    assert found.spread == pytest.approx(np.exp(2 * best.x), rel=1e-4)


def test_under_student_the_evidence_is_nearly_the_integral() -> None:
    rows, target, _ = wild(80, 1, 3)
    turned = rotated(rows)
    found = student.OneTarget(turned, target)
    scale, alpha = np.sqrt(found.variance), found.precision

    def log_joint(weight: float, bias: float) -> float:
        density = stats.t.logpdf(target, 4, turned.rows[:, 0] * weight + bias, scale).sum()
        return float(density + stats.norm.logpdf(weight, 0, alpha**-0.5))

    top, half = log_joint(found.theta[0], found.centre), 8 * scale / np.sqrt(80)
    weights, biases = (np.linspace(middle - half, middle + half, 61) for middle in (found.theta[0], found.centre))
    table = [[np.exp(log_joint(weight, bias) - top) for bias in biases] for weight in weights]
    integral = integrate.simpson(integrate.simpson(np.array(table), x=biases, axis=1), x=weights)
    # the curvature of the weighted problem lies above that of the t, so that this is a little below
    assert top + np.log(integral) - 0.6 < found.log_evidence < top + np.log(integral)


def test_under_student_wild_numbers_pull_at_nothing() -> None:
    rows, target, clean = wild(300, 8)
    heads = [solver.solve(rows[:200], target[:200, None], came_with(2, 8)) for solver in (gaussian, student)]
    errors = [np.sqrt(((rows[200:] @ head.weight[0] + head.bias[0] - clean[200:]) ** 2).mean()) for head in heads]
    assert errors[1] < 0.53 and errors[0] > 2.5 * errors[1]  # the noise itself has a deviation of 0.5
    assert (heads[1].weight[1] == 0).all() and 0.4 < np.exp(0.5 * heads[1].bias[1]) < 0.9


def test_under_student_without_wild_numbers_little_is_lost() -> None:
    rows, target = problem(400, 6)
    heads = [solver.solve(rows[:200], target[:200, None], came_with(2, 6)) for solver in (gaussian, student)]
    errors = [np.sqrt(((rows[200:] @ head.weight[0] + head.bias[0] - target[200:]) ** 2).mean()) for head in heads]
    assert errors[1] < 1.05 * errors[0]


@settings(max_examples=20)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 1000))
def test_under_student_units_change_nothing_but_units(scale: float, shift: float, seed: int) -> None:
    rows, target, _ = wild(50, 4, seed)
    plain = student.solve(rows, target[:, None], came_with(2, 4))
    other = student.solve(rows, scale * target[:, None] + shift, came_with(2, 4))
    assert other.weight[0] == pytest.approx(scale * plain.weight[0], rel=1e-3, abs=1e-3 * scale)
    assert other.bias[1] - 2 * np.log(scale) == pytest.approx(plain.bias[1], abs=1e-2)


def test_under_student_what_is_not_known_and_what_has_no_error() -> None:
    rows, target, _ = wild(80, 5)
    both = np.column_stack([target, target])
    both[50:, 1] = np.nan
    head = student.solve(rows, both, came_with(4, 5))
    part = student.solve(rows[:50], target[:50, None], came_with(2, 5))
    assert head.weight[1] == pytest.approx(part.weight[0]) and head.bias[3] == pytest.approx(part.bias[1])
    exact = student.solve(np.random.default_rng(0).normal(size=(30, 60)), rows[:30, :1], came_with(2, 60))
    assert np.isfinite(exact.weight).all() and np.isfinite(exact.bias).all()
    for few in (np.ones((1, 1)), np.ones((9, 1)), np.array([[0.0]] * 8 + [[1.0]]), np.arange(2.0)[:, None]):
        head = student.solve(rows[: len(few)], few, came_with(2, 5))
        assert np.isfinite(head.weight).all() and np.isfinite(head.bias).all()


@pytest.mark.parametrize("seed", range(3))
def test_labels_are_logistic_regressions_of_their_own(seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(150, 6))
    targets = (rows @ draw.normal(size=(6, 3)) + draw.logistic(size=(150, 3)) > 0).astype(float)
    head = bernoulli.solve(rows, targets, came_with(3, 6))
    spread = rotated(rows).scale
    for label in range(3):
        alone = bernoulli.solve(rows, targets[:, label, None], came_with(1, 6))
        assert head.weight[label] == pytest.approx(alone.weight[0], abs=1e-8)
        oracle = LogisticRegression(C=1 / alone.typical_precision, tol=1e-10, max_iter=20_000).fit(
            rows / spread, targets[:, label]
        )
        assert alone.weight[0] * spread == pytest.approx(oracle.coef_[0], abs=2e-3)
        assert alone.bias[0] == pytest.approx(oracle.intercept_[0], abs=2e-3)


def test_labels_that_all_have_or_nobody_knows() -> None:
    rows, _ = problem(40, 4)
    targets = np.column_stack([np.ones(40), np.zeros(40), np.full(40, np.nan), np.arange(40) % 2])
    targets[30:, 3] = np.nan
    kept = came_with(4, 4)
    head = bernoulli.solve(rows, targets, kept)
    assert (head.weight[:2] == 0).all() and head.bias[:2] == pytest.approx([np.log(81), -np.log(81)])
    assert (head.weight[2] == kept.weight[2]).all()
    part = bernoulli.solve(rows[:30], targets[:30, 3, None], came_with(1, 4))
    assert head.weight[3] == pytest.approx(part.weight[0]) and np.isfinite(head.weight).all() and np.isfinite(head.bias).all()


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "student"])
def test_weights_by_class_are_refused_where_there_are_no_classes(name: str) -> None:
    with pytest.raises(BadSetting, match="balance"):
        plugins.find("train.solvers", name).solve(np.ones((3, 2)), np.ones((3, 1)), came_with(2, 2), weights=np.ones(3))
