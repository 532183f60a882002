"""The tests of this folder, tested: each wrong formula must make at least one of them fail."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import test_hmc
import test_laplace
import torch

from headstart.posteriors import _precision, _sampler, _whitened, laplace
from headstart.posteriors._precision import Curvature
from headstart.tasks.single_label import SingleLabel

Patch = Callable[[pytest.MonkeyPatch], None]


def _swapped_transpose(patch: pytest.MonkeyPatch) -> None:
    own = _precision.own_roots
    patch.setattr(_precision, "own_roots", lambda *given: ((found := own(*given))[0].swapaxes(1, 2), found[1]))


def _no_prior(patch: pytest.MonkeyPatch) -> None:
    made = Curvature.__init__

    def without(self: Curvature, problem: Any) -> None:
        made(self, problem)
        self.prior = np.full_like(self.prior, 1e-9)

    patch.setattr(Curvature, "__init__", without)


def _mean_for_sum(patch: pytest.MonkeyPatch) -> None:
    weights = Curvature.weights
    patch.setattr(Curvature, "weights", lambda self: weights(self) / len(self.outputs))


def _wrong_hessian(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SingleLabel, "output_hessian", lambda self, outputs, _targets: torch.diag_embed(outputs.softmax(1)))


def _no_bias(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_precision, "BIAS_PRECISION", 1e6)


def _draws_too_wide(patch: pytest.MonkeyPatch) -> None:
    spread = laplace.Laplace._spread
    patch.setattr(laplace.Laplace, "_spread", lambda self, said, variances: spread(self, said, 4 * variances))


def _sampler_always_moves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_sampler, "ACCEPTED", 0.2)
    patch.setattr(_sampler.torch, "exp", lambda _lost: torch.ones_like(_lost))


def _prior_counts_double(patch: pytest.MonkeyPatch) -> None:
    made = _whitened.Whitened.of.__func__  # pyright: ignore[reportFunctionMemberAccess]
    patch.setattr(
        _whitened.Whitened,
        "of",
        classmethod(lambda kind, problem: replace(found := made(kind, problem), precision=2 * found.precision)),
    )


CHECKS: tuple[Callable[[], None], ...] = (
    test_laplace.test_independent_labels_are_exact,
    test_laplace.test_numbers_are_exact_and_their_noise_is_held_to_be_known,
    lambda: test_laplace.test_two_classes_are_exact_but_for_what_both_logits_share(1),
    test_hmc.test_the_head_as_it_is_is_where_the_target_pulls_least,
    test_hmc.test_a_gaussian_target_is_sampled_and_judged,
)
MUTATIONS: tuple[Patch, ...] = (
    *(_swapped_transpose, _no_prior, _mean_for_sum, _wrong_hessian, _no_bias),
    *(_sampler_always_moves, _prior_counts_double),
)


def test_the_checks_hold_as_things_are() -> None:
    for check in CHECKS:
        check()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda patch: patch.__name__.strip("_"))
def test_a_wrong_formula_makes_a_test_fail(mutation: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    failed = 0
    for check in CHECKS:
        try:
            check()
        except AssertionError:
            failed += 1
    assert failed


def test_draws_that_are_too_wide_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    _draws_too_wide(monkeypatch)
    with pytest.raises(AssertionError):
        test_laplace.test_draws_have_the_covariance_that_few_outputs_tell(monkeypatch)
