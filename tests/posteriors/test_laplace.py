"""Laplace's posterior of a head against the dense precision of its weights, written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float

from headstart.core import Outputs, Task
from headstart.posteriors import _precision, laplace
from headstart.posteriors._precision import BIAS_PRECISION
from headstart.posteriors._problem import Labelled, Problem
from headstart.tasks.multi_label import MultiLabel
from headstart.tasks.regression import Regression
from headstart.tasks.single_label import SingleLabel


def problem_of(
    task: Task, targets: torch.Tensor, precision: list[float], width: int = 5, seed: int = 0, each: int = 1
) -> Problem:
    count, draw = len(targets), np.random.default_rng(seed)
    given = torch.from_numpy(draw.normal(size=(count, width)) * np.linspace(0.5, 2, width) + 1.0)
    seen = Labelled(given, torch.from_numpy(draw.normal(size=(count, task.outputs))), targets)
    return Problem(task, seen, seen.some(0), np.array(precision), count * each)


def dense(problem: Problem, found: laplace.Laplace, times: int = 1) -> Float[np.ndarray, "batch outputs outputs"]:
    """Covariance of the outputs at each row: the whole precision, in no basis but that of the inputs."""
    seen = problem.train
    z = np.hstack([(seen.given.numpy() - found.centre.numpy()) / float(found.scale), np.ones((len(seen.given), 1))])
    hessians = times * problem.task.output_hessian(seen.said, seen.targets).numpy()
    classes, width = seen.said.shape[1], z.shape[1]
    whole = np.einsum("nkl,ni,nj->kilj", hessians, z, z).reshape(classes * width, classes * width)
    prior = np.repeat(problem.precision[:, None], width, axis=1)
    prior[:, -1] = BIAS_PRECISION
    free = np.isfinite(problem.precision)
    prior[~free] = 1e12
    covariance = np.linalg.inv(whole * np.kron(np.outer(free, free), np.ones((width, width))) + np.diag(prior.ravel()))
    jacobians = np.einsum("kl,ni->nkli", np.eye(classes), z).reshape(len(z), classes, classes * width)
    return (jacobians @ covariance @ jacobians.transpose(0, 2, 1)) * np.outer(free, free)


def test_independent_labels_are_exact() -> None:
    targets = torch.from_numpy((np.random.default_rng(1).random((40, 3)) < 0.5).astype(np.float32))
    problem = problem_of(MultiLabel(("a", "b", "c")), targets, [0.5, 2.0, 7.0])
    found = laplace.around(problem)
    np.testing.assert_allclose(found.covariance(problem.train.given).numpy(), dense(problem, found), rtol=1e-9, atol=1e-12)


def test_numbers_are_exact_and_their_noise_is_held_to_be_known() -> None:
    targets = torch.from_numpy(np.random.default_rng(1).normal(size=(40, 2)))
    problem = problem_of(Regression(("a", "b"), (0.0, 1.0), (1.0, 2.0)), targets, [0.5, 3.0, np.inf, np.inf])
    found = laplace.around(problem)
    got = found.covariance(problem.train.given).numpy()
    np.testing.assert_allclose(got, dense(problem, found), rtol=1e-9, atol=1e-12)
    assert not got[:, 2:].any() and (got[:, 0, 0] > 0).all()


@pytest.mark.parametrize("each", [1, 3])
def test_two_classes_are_exact_but_for_what_both_logits_share(each: int) -> None:
    problem = problem_of(SingleLabel(("a", "b")), torch.zeros(40, dtype=torch.long), [3.0, 3.0], each=each)
    found = laplace.around(problem)
    contrast, expected = np.array([1.0, -1.0]), dense(problem, found, each)
    got = found.covariance(problem.train.given).numpy()
    # beware: the direction (1, -1) has half the weight on each of the two biases, whose weak priors add up
    np.testing.assert_allclose(contrast @ got @ contrast, contrast @ expected @ contrast, rtol=1e-9)
    np.testing.assert_allclose(got @ np.ones(2), 0.0, atol=1e-12)


def test_draws_have_the_covariance_that_few_outputs_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    task = SingleLabel(tuple("abcde"))
    problem = problem_of(task, torch.arange(60) % 5, [2.0] * 5)
    told = laplace.around(problem)
    monkeypatch.setattr(laplace, "OWN", 0)
    monkeypatch.setattr(laplace, "DRAWS", 20_000)
    drawn = told.outputs(problem.train.given, problem.train.said)
    assert drawn.cov is None and drawn.samples is not None
    moved = (drawn.samples - problem.train.said).numpy()
    expected = told.covariance(problem.train.given).numpy()
    found = np.einsum("sbk,sbl->bkl", moved, moved) / len(moved)
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)
    np.testing.assert_allclose(moved.mean(0), 0, atol=1e-9)


def test_shared_factors_are_those_of_a_mean_curvature() -> None:
    """With the same curvature at every example Kronecker factors are exact."""
    problem = problem_of(SingleLabel(("a", "b", "c")), torch.arange(60) % 3, [2.0] * 3)
    flat = Problem(
        problem.task,
        Labelled(problem.train.given, torch.zeros(60, 3).double(), problem.train.targets),
        problem.held,
        problem.precision,
        60,
    )
    own, shared = laplace.around(flat), laplace.around(flat, own=0)
    np.testing.assert_allclose(
        shared.covariance(flat.train.given).numpy(), own.covariance(flat.train.given).numpy(), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(("count", "width"), [(20, 40), (200, 40)])
@pytest.mark.parametrize("own", [32, 0])
def test_directions_that_say_next_to_nothing_keep_their_prior(
    count: int, width: int, own: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most `barely` more is unknown than with all directions, at seen and at new inputs, never less; others are as they were."""
    monkeypatch.setattr(_precision, "EXACT", 4)
    problem = problem_of(SingleLabel(("a", "b", "c")), torch.arange(count) % 3, [2e-1 * count] * 3, width=width)
    whole, found = (laplace.around(problem, own=own, barely=each) for each in (0.0, 0.3))
    assert 4 < found.basis.shape[1] < whole.basis.shape[1] and found.rest.shape[1] < whole.rest.shape[1]
    draw = torch.from_numpy(np.random.default_rng(5).normal(size=(50, width)) * 3)
    for given in (problem.train.given, draw):
        ratios = (found.variances(given) / whole.variances(given)).numpy()
        assert (ratios > 1 - 1e-9).all() and (ratios < 1 / 0.7).all() and (ratios > 1 + 1e-3).any()
    fewer = laplace.around(problem, own=own, barely=0.01)
    np.testing.assert_allclose(fewer.variances(draw).numpy(), whole.variances(draw).numpy(), rtol=0.0102)


def test_in_single_precision_half_of_it_serves_for_the_basis() -> None:
    problem = problem_of(SingleLabel(("a", "b")), torch.arange(700) % 2, [30.0, 30.0], width=1600)
    found = laplace.fit(problem)
    assert found.centre.dtype == torch.float32 and found.basis.dtype == torch.float16
    columns = torch.from_numpy(_precision.turned_of(problem).basis)
    exact = replace(laplace.around(problem), basis=columns)
    draw = torch.from_numpy(np.random.default_rng(5).normal(size=(50, 1600)))
    for given in (problem.train.given, draw, 30 * draw):
        ratios = found.variances(given) / exact.variances(given)
        assert bool((ratios > 1 - 1e-3).all()) and bool((ratios < 1 / (1 - laplace.BARELY)).all())
    again = laplace.load(found.state(), problem.task)
    assert torch.equal(again.variances(draw), found.variances(draw))


def test_more_examples_of_a_kind_leave_less_unknown() -> None:
    task, targets = SingleLabel(("a", "b")), torch.arange(40) % 2
    few, many = (laplace.around(problem_of(task, targets, [3.0, 3.0], each=each)) for each in (1, 10))
    given = problem_of(task, targets, [3.0, 3.0]).train.given
    assert bool((many.variances(given) < few.variances(given)).all())
    far = given + 100.0
    assert bool((few.variances(far) > 10 * few.variances(given)).all())


def test_the_width_is_one_where_held_out_examples_are_as_unsure_as_the_posterior() -> None:
    """Truth drawn from the posterior predictive itself, many of them: the search finds its width, to a step, and leaves the temperature."""
    task, draw = SingleLabel(("a", "b")), np.random.default_rng(0)
    base = problem_of(task, torch.arange(40) % 2, [1.0, 1.0])
    found = laplace.around(base)
    given = torch.from_numpy(draw.normal(size=(1000, 5)) * 2)
    said = torch.from_numpy(draw.normal(size=(1000, 2)))
    for width in (0.1, 1.0):
        moved = torch.linalg.cholesky(width * found.covariance(given) + 1e-9 * torch.eye(2)) @ torch.from_numpy(
            draw.normal(size=(1000, 2, 1))
        )
        probs = (said + moved[..., 0]).softmax(1)[:, 1].numpy()
        truth = torch.from_numpy((draw.random(1000) < probs).astype(np.int64))
        held = Labelled(given, said, truth)
        got = found.calibrated(Problem(task, base.train, held, base.precision, 40))
        assert 0.25 < float(got.width) / width < 4 and float(got.temperature) == pytest.approx(1.0, abs=0.25)


def test_nothing_held_out_leaves_the_usual_width() -> None:
    problem = problem_of(SingleLabel(("a", "b")), torch.arange(40) % 2, [3.0, 3.0])
    found = laplace.fit(problem)
    assert float(found.width) == pytest.approx(0.1) and float(found.temperature) == 1.0


def test_classes_that_are_told_apart_for_sure_do_not_leave_everything_unknown() -> None:
    """Saturated probabilities have no curvature: the prior is all that holds the weights."""
    task = SingleLabel(("a", "b"))
    problem = problem_of(task, torch.arange(40) % 2, [3.0, 3.0])
    sure = Labelled(
        problem.train.given, torch.tensor([[60.0, -60.0], [-60.0, 60.0]]).repeat(20, 1).double(), problem.train.targets
    )
    found = laplace.around(Problem(task, sure, sure.some(0), problem.precision, 40))
    said = found.outputs(sure.given, sure.said)
    assert bool(torch.isfinite(torch.as_tensor(said.cov)).all())
    assert isinstance(said, Outputs)
